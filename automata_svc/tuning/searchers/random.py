"""Independent draws: the searcher that needs no history and no order."""

from __future__ import annotations

from automata_svc.selection.types import keyed_rng
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.searchers.base import Proposal, Searcher
from automata_svc.tuning.searchers.points import Points
from automata_svc.tuning.state import JobState


class Random:
    """Each parameter from its own key, so that adding one to the space leaves the others' draws."""

    def __init__(self, plan: SearchPlan) -> None:
        self._points = Points(plan)
        self._seed = plan.seed

    def propose(self, state: JobState, number: int) -> Proposal:
        def unit(name: str) -> float:
            return float(keyed_rng(self._seed, number, "propose", name).random())

        return self._points.propose(number, unit, "random")


class RandomKind:
    sequential = False

    def start(self, plan: SearchPlan) -> Searcher:
        return Random(plan)


RANDOM = RandomKind()
