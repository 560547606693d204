"""A Service in memory over the simulated runner: the same core and events, no database or Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from automata_svc.errors import Conflict, NotFound, SpecError
from automata_svc.jobs.protocol import Chosen, JobRow, PlanView, RungLine, Watcher
from automata_svc.results.result import by_rung, plain, result, trial_row
from automata_svc.results.why import Why, why
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Asked, DriverStart, SubsetBuilt
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from automata_svc.tuning.state import JOB_ENDS, JobState
from tests.tuning.build import VERSIONS, PlantedCurves, make_plan

JOB = """\
apiVersion: automata/v1
kind: TuneJob
metadata: {name: letter-mlp}
spec:
  trial: {template: tabular_mlp, dataset: letter}
  objective: {metric: val_accuracy, mode: max}
  space: {lr: {loguniform: [1.0e-4, 1.0e-1]}, hidden: [64, 128, 256]}
  budget: {trials: 27}
"""


@dataclass
class FakeService:
    """Jobs by id; `interrupt_after` makes a drive see Ctrl-C after that many batches of events."""

    options: Mapping[str, Any] = field(default_factory=dict)
    curves: Any = field(default_factory=PlantedCurves)
    interrupt_after: int | None = None
    engines: dict[str, Engine] = field(default_factory=dict)
    specs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    overrides: list[Sequence[str]] = field(default_factory=list)
    changed: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    divergences: list[str] = field(default_factory=list)
    runs_here: bool = True
    place: str = "a folder"

    def submit(self, text: str, source: str, overrides: Sequence[str] = ()) -> str:
        self.overrides.append(tuple(overrides))
        spec = yaml.safe_load(text)
        if "metadata" not in spec:
            raise SpecError("metadata: is missing", source)
        job = f"job_{len(self.engines)}"
        plan = make_plan(job=job, **{"trials": 27, "keep": (9, 4, 2), **self.options})
        self.engines[job] = Engine(plan, MemoryLog(), HandClock())
        self.specs[job] = spec
        return job

    def drive(self, job: str, watch: Watcher | None = None, runner: str = "ray") -> JobState:
        engine = self.engines[self.find(job).id]
        if engine.state.is_over:
            raise Conflict(f"{job} is already finished: {engine.state.state}")
        engine = Engine(engine.plan, engine._log, engine._clock, on_events=self._watched(watch))
        self.engines[job] = engine
        engine.handle(DriverStart(VERSIONS, "sha", 2, runner), SubsetBuilt(None, False, 0.0))
        try:
            Simulated(self.curves, engine._clock).run(engine)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            engine.handle(Asked("pause", "interrupted"))
            raise
        return engine.state

    def _watched(self, watch: Watcher | None) -> Watcher:
        seen = 0

        def watched(state: JobState, events: Sequence[Any]) -> None:
            nonlocal seen
            seen += 1
            if watch is not None:
                watch(state, events)
            if self.interrupt_after is not None and seen == self.interrupt_after:
                self.interrupt_after = None
                raise KeyboardInterrupt

        return watched

    def plan(self, text: str, source: str, overrides: Sequence[str] = ()) -> PlanView:
        self.overrides.append(tuple(overrides))
        price = next((float(o.split("=")[1]) for o in overrides if "price=" in o), 2.5)
        if price > 10:
            raise SpecError(f"spec.budget.price: no recipe reaches {price:g}; the nearest is 5")
        job = yaml.safe_load(text)
        if "metadata" not in job:
            raise SpecError("metadata: is missing", source)
        job["spec"]["subset"] = {"strategy": "adaptive_random", "fraction": 0.1}
        rung = RungLine(0.0025, 0.0026, 1365, (5, 43), 27, 8, 0.07)
        return PlanView(
            job=job,
            chosen={
                "spec.subset.strategy": Chosen("adaptive_random", "default: shuffled full data"),
                "spec.budget.trials": Chosen(27, "given"),
            },
            dataset={"name": "letter", "n_train": 10500, "n_val": 4500, "n_test": 5000,
                     "n_classes": 26, "notes": ("scaled",)},
            rungs=(rung, RungLine(0.02, 0.02, 10500, (42, 330), 8, 2, 0.15)),
            price=price, price_search=price - 1, price_confirm=1.0,
            expected={"mean_regret": 0.12, "misses": 0.04, "where": "three sets"},
            artefact=None, warnings=("only 5 optimizer steps before the first rung",),
        )  # fmt: skip

    def jobs(
        self,
        project: str | None = None,
        state: str | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        rows = [self._row(job) for job in reversed(self.engines)]
        found = [row for row in rows if state in (None, row.state) and name in (None, row.name)]
        return found[:limit]

    def find(self, job: str) -> JobRow:
        for one in self.jobs():
            if job in (one.id, one.name):
                return one
        raise NotFound(f"no job '{job}'; the nearest is job_0")

    def state(self, job: str) -> JobState:
        return self.engines[job].state

    def close(self) -> None:
        return None

    def follow(self, job: str, watch: Watcher | None = None) -> JobState:
        return self.state(job)

    def result(self, job: str) -> dict[str, Any]:
        return result(self.state(job), self.spec(job))

    def trials(self, job: str, top: int | None = None) -> list[dict[str, Any]]:
        state = self.state(job)
        rows = by_rung([trial_row(state, trial) for trial in state.trials], state.plan.mode)
        return [plain(row) for row in rows[:top]]

    def why(self, job: str, trial: int) -> Why:
        return why(self.state(job), trial)

    def logs(self, job: str, trial: int | None = None, after: int = 0) -> list[tuple[int, str]]:
        lines = [(n, f"line {n} of {trial}") for n in range(1, 8)]
        return [line for line in lines if line[0] > after][:3]

    def follow_logs(
        self, job: str, trial: int | None = None, after: int = 0
    ) -> Iterator[list[tuple[int, str]]]:
        while page := self.logs(job, trial, after):
            after = page[-1][0]
            yield page

    def clone(self, job: str, overrides: Sequence[str] = (), name: str | None = None) -> str:
        return self.submit(yaml.safe_dump(dict(self.specs[job])), "job.yaml", overrides)

    def change(self, job: str, values: Mapping[str, Any]) -> None:
        self.changed.append((job, dict(values)))

    def retry(self, job: str) -> str:
        return self.clone(job)

    def events(self, job: str, after: int = 0) -> list[tuple[int, float, str, Mapping[str, Any]]]:
        return []

    def spec(self, job: str) -> Mapping[str, Any]:
        return self.specs[job]

    def stop(self, job: str, reason: str = "") -> None:
        engine = self.engines[job]
        if engine.state.state in JOB_ENDS:
            raise Conflict(f"{job} is already finished: {engine.state.state}")
        engine.handle(Asked("stop", reason))

    def pause(self, job: str, reason: str = "") -> None:
        self.engines[job].handle(Asked("pause", reason))

    def save_best(self, job: str, folder: Path) -> list[Path]:
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(b"weights")
        return [folder / "model.pt"]

    def replay(self, job: str) -> list[str]:
        return self.divergences

    def _row(self, job: str) -> JobRow:
        state = self.engines[job].state
        summary = {"proposed": len(state.trials), "price": state.price, "best": {"value": 0.9}}
        name = str(self.specs[job]["metadata"]["name"])
        return JobRow(job, name, "default", state.state, "", 0.0, 0.0, self.plan_of(job), summary)

    def plan_of(self, job: str) -> int:
        plan: SearchPlan = self.engines[job].plan
        return plan.trials
