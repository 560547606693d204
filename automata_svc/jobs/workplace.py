"""Where a driver's trials run: the data they share, the subsets built for them, and the runner."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from automata_svc.datasets import Dataset, Source, load_dataset
from automata_svc.errors import Conflict
from automata_svc.jobs.around import surroundings_of, with_access
from automata_svc.jobs.bundles import Code
from automata_svc.selection import STRATEGIES
from automata_svc.selection.types import Arrays
from automata_svc.trials.surroundings import Surroundings
from automata_svc.trials.types import Reply, Report, SegmentOrder
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.ray_kit import TemplateProgram
from automata_svc.tuning.runners.ray_settings import RaySettings

if TYPE_CHECKING:
    from automata_svc.database import StoredJob
    from automata_svc.jobs.local import LocalService

Poll = Callable[[], None]
Prepared = tuple[str | None, bool, float, int, str]  # the fields of `SubsetBuilt`


@dataclass
class Material:
    """What every trial of a job works with; loaded once, by the driver."""

    service: LocalService
    plan: SearchPlan
    dataset: Dataset
    template: Mapping[str, Any]  # name, path, sha256, text; code: name, sha256
    project: str
    around: Surroundings
    _artefact: tuple[Arrays, Prepared] | None = None

    @classmethod
    def load(cls, service: LocalService, plan: SearchPlan, record: StoredJob) -> Material:
        template = json.loads(record.template)
        trial = json.loads(record.spec)["spec"]["trial"]
        source = service.bundles.of(record.project).source(Source.of(trial["dataset"]))
        dataset = load_dataset(source, service.settings)
        if plan.dataset_digest not in ("", dataset.shape.digest):
            raise Conflict(
                f"{plan.job}: the rows of dataset '{dataset.shape.name}' changed since the job was "
                f"submitted (digest {plan.dataset_digest[:8]}…, now {dataset.shape.digest[:8]}…); "
                "put the old ones back to go on, or submit the job again"
            )
        around = surroundings_of(trial, Code.from_json(template.get("code")), service.settings)
        return cls(service, plan, dataset, template, record.project, around)

    def program(self, keeps_prints: bool = True) -> TemplateProgram:
        """What workers run; `keeps_prints`: in files of this machine, one a trial."""
        template = self.template
        folder = self.service.settings.home / "logs" / self.plan.job
        return TemplateProgram(
            template["text"],
            template["sha256"],
            template["path"],
            self.service.settings.store_url,
            str(folder) if keeps_prints else None,
            self.around,
        )

    def access(self, order: SegmentOrder) -> SegmentOrder:
        """The order with what its worker needs to reach the store, for a store with credentials."""
        return with_access(order, self.service.store, self.around.code)

    def artefact(self) -> tuple[Arrays, Prepared]:
        """The strategy's model-free arrays, and what `SubsetBuilt` says of them."""
        if self._artefact is None:
            self._artefact = self._find_artefact()
        return self._artefact

    def _find_artefact(self) -> tuple[Arrays, Prepared]:
        plan = self.plan
        if "embeddings" not in STRATEGIES[plan.strategy].needs:
            return {}, (None, False, 0.0, 0, "")  # drawn from labels alone, by the trial itself
        from automata_svc.selection.artefacts import load_or_build, owner_of, request_for

        request = request_for(
            plan.strategy,
            self.dataset,
            encoder=plan.encoder,
            size=plan.table.subset_rows,
            options=plan.strategy_options,
            seed=plan.seed,
            owner=owner_of(plan.scope, plan.job, self.project),
        )
        built = load_or_build(self.service.store, request, self.dataset)
        return built.arrays, (built.key, built.hit, built.seconds, built.forward_rows, built.note)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Puts a Ctrl-C off to the end of the block; only the main thread ever gets one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


class Workplace(Protocol):
    """Made at the start of a drive, closed at its end."""

    slots: int

    def build_subset(self) -> Prepared:
        """Builds or finds the artefact; the fields of `SubsetBuilt`."""
        ...

    def run(self, engine: Engine, poll: Poll) -> None:
        """Carries orders out until there are none; `poll` is called about once a second."""
        ...

    def close(self) -> None: ...


class InProcessWorkplace:
    """One slot in the driver's own process."""

    slots = 1

    def __init__(self, service: LocalService, plan: SearchPlan, record: StoredJob) -> None:
        self._material = Material.load(service, plan, record)

    def build_subset(self) -> Prepared:
        return self._material.artefact()[1]

    def run(self, engine: Engine, poll: Poll) -> None:
        with interrupts_held():  # torch ends the process where Ctrl-C meets its loading
            from automata_svc.trials.data import TrialData, device_for
            from automata_svc.trials.segment import run_segment  # noqa: F401
        from automata_svc.tuning.runners.inprocess import InProcess

        material = self._material
        dataset = material.dataset
        data = TrialData(
            shape=dataset.shape,
            train=dataset.train,
            val=dataset.val,
            open_test=dataset.open_test,
            artefact=material.artefact()[0],
            device=device_for(engine.plan.gpus > 0),
        )
        carry_out = material.program()

        def program(order: SegmentOrder, send: Callable[[Report], Reply]) -> None:
            carry_out(order, data, send)

        InProcess(program, poll).run(engine)

    def close(self) -> None:
        return None


class RayWorkplace:
    """A Ray of this driver's own, which starts while the data loads; or one that is there.

    Args:
        ray: the one that is there; None: a private one of the size that the job can use.
        prints: given what a trial prints; None: that is kept in files of this machine.
    """

    def __init__(
        self,
        service: LocalService,
        plan: SearchPlan,
        record: StoredJob,
        ray: RaySettings | None = None,
        prints: Callable[[int, str], None] | None = None,
    ) -> None:
        with interrupts_held():  # Ray goes on where Ctrl-C meets its loading, as if there was none
            from automata_svc.tuning.runners.ray import RayRunner
            from automata_svc.tuning.runners.ray_host import RayHost

        self._host = RayHost(ray or _private(plan))
        self._host.prewarm()
        self._poll: Poll = lambda: None
        try:
            self._material = Material.load(service, plan, record)
            self._runner = RayRunner(
                self._material.program(keeps_prints=prints is None),
                self._material.dataset,
                load_artefact=lambda key: self._material.artefact()[0],
                host=self._host,
                poll=lambda: self._poll(),
                prints=prints,
                hand_out=self._material.access,
            )
            self.slots = self._runner.slots(plan)
        except BaseException:
            self._host.stop()
            raise

    def build_subset(self) -> Prepared:
        return self._material.artefact()[1]

    def run(self, engine: Engine, poll: Poll) -> None:
        self._poll = poll
        self._runner.run(engine)

    def close(self) -> None:
        self._host.stop()


def _private(plan: SearchPlan) -> RaySettings:
    wanted = None if plan.parallelism is None else math.ceil(plan.parallelism * plan.cpus)
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return RaySettings(cpus=None if wanted is None else max(1, min(wanted, mine or 1)))


WORKPLACES: Mapping[str, Callable[[LocalService, SearchPlan, StoredJob], Workplace]] = (
    MappingProxyType({"ray": RayWorkplace, "inprocess": InProcessWorkplace})
)
