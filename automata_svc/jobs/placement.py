"""Whether a job can ever be placed on the machines that there are."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from automata_svc.errors import AutomataError
from automata_svc.jobs.admission import Cluster, Machine, Size, fits_nowhere
from automata_svc.jobs.launch import DRIVER_CPUS, Node

if TYPE_CHECKING:
    from automata_svc.jobs.controller import Rays
    from automata_svc.tuning.plan import SearchPlan

REFRESH_S = 60.0


class Placement:
    """The cluster's machines as they were seen last; safe between threads."""

    def __init__(self) -> None:
        self._nodes: tuple[Node, ...] | None = None
        self._at = float("-inf")

    @property
    def nodes(self) -> tuple[Node, ...] | None:
        """None: they were never seen."""
        return self._nodes

    @nodes.setter
    def nodes(self, nodes: tuple[Node, ...]) -> None:
        self._nodes, self._at = nodes, time.monotonic()

    @property
    def age_s(self) -> float:
        """Since they were seen."""
        return time.monotonic() - self._at

    def refuses(self, plan: SearchPlan) -> str | None:
        """Why a job can never be placed; None: it can be, or nobody knows."""
        if plan.is_external or not self._nodes:
            return None
        return fits_nowhere(Size(plan.cpus, plan.gpus), cluster_of(self._nodes, 1, 1))

    def follow(self, rays: Rays, stop: threading.Event, every_s: float = REFRESH_S) -> None:
        """Looks at them now and then, where no controller of this process does."""
        while True:
            try:
                self.nodes = tuple(rays.launcher().nodes())
            except AutomataError:
                pass  # what was seen before stands
            if stop.wait(every_s):
                return


def cluster_of(nodes: Sequence[Node], most_drivers: int, drivers: int) -> Cluster:
    """What is left for trials, and how many drivers there may be.

    Where no node offers room for drivers of its own, each of them takes a CPU of the largest.
    """
    offered = int(sum(node.drivers for node in nodes))
    machines = [Machine(node.cpus, node.gpus) for node in nodes]
    if not offered and machines:
        largest = max(range(len(machines)), key=lambda index: machines[index].cpus)
        cpus, gpus = machines[largest]
        machines[largest] = Machine(max(0.0, cpus - DRIVER_CPUS * drivers), gpus)
    return Cluster(tuple(machines), min(most_drivers, offered or most_drivers))
