"""Builders: a plan with the fields a test cares about, curves with a known best, runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from automata_svc.selection.types import keyed_rng
from automata_svc.trials.types import PassStats, PassTable, SegmentOrder
from automata_svc.tuning import events as ev
from automata_svc.tuning.engine import Engine, EventLog, Faults
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.inputs import DriverStart, SubsetBuilt
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import Rung, SearchPlan
from automata_svc.tuning.ranking import Value
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from automata_svc.tuning.state import JobState

VERSIONS = {"automata": "test", "ray": "none", "optuna": "none", "python": "3"}
SPACE = {
    "lr": {"loguniform": [1e-4, 1e-1]},
    "hidden": {"choice": [64, 128, 256]},
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"uniform": [0.0, 0.9], "when": {"optimizer": ["sgd"]}},
}
GRID_SPACE = {
    "lr": {"choice": [0.001, 0.003, 0.01, 0.03, 0.1]},
    "hidden": {"choice": [64, 128, 256]},
    "layers": {"randint": [1, 3]},
}


def make_plan(**overrides: Any) -> SearchPlan:
    n_train, epochs = overrides.pop("n_train", 1000), overrides.pop("epochs", 20)
    subset, slices = overrides.pop("subset_rows", 100), overrides.pop("slices", 1)
    table = PassTable(n_train * epochs, subset, slices)
    shares = overrides.pop("shares", (0.01, 0.04, 0.16))
    keep = overrides.pop("keep", (4, 2, 1))
    scheduler = overrides.get("scheduler", "successive_halving")
    if scheduler != "successive_halving":
        keep = (None,) * len(shares)
    if scheduler == "fifo":
        shares, keep = shares[-1:], (None,)
    rungs = tuple(
        Rung(share, b := table.boundary_at(math.ceil(share * table.total_rows)),
             table.rows_at(b), table.share_at(b), kept)
        for share, kept in zip(shares, keep, strict=True)
    )  # fmt: skip
    values: dict[str, Any] = {
        "job": "job_test", "seed": 7, "metric": "val_accuracy", "mode": "max",
        "loss_metric": "val_loss", "rank_by": ("metric", "loss"),
        "n_train": n_train, "n_val": 300, "n_test": 300, "epochs": epochs,
        "table": table, "rungs": rungs, "trials": 9, "parallelism": None,
        "scheduler": "successive_halving", "reduction_factor": 3.0,
        "search": "random", "startup_trials": 4, "start_points": (),
        "space": GRID_SPACE if overrides.get("search") == "grid" else SPACE,
        "fixed": {"epochs": epochs}, "guards": ({"type": "non_finite"}, {"type": "divergence"}),
        "strategy": "adaptive_random", "fraction": subset / n_train,
    }  # fmt: skip
    return SearchPlan(**{**values, **overrides})


class PlantedCurves:
    """Accuracy rises with share to a ceiling, highest at lr = 0.01; noise is keyed by trial."""

    def __init__(self, noise: float = 0.01, seconds: float = 100.0) -> None:
        self.noise = noise
        self._seconds = seconds
        self.spoil: Callable[[SegmentOrder, float], Mapping[str, Any] | None] = lambda o, s: None

    def ceiling(self, params: Mapping[str, Any]) -> float:
        return 0.9 - 0.1 * abs(math.log10(params["lr"]) + 2)

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        spoiled = self.spoil(order, share)
        if spoiled is not None:
            return spoiled
        rng = keyed_rng(order.seed, order.trial, round(share * 1e6), "curve")
        top = self.ceiling(order.params)
        accuracy = top * share / (share + 0.01) + self.noise * float(rng.normal())
        found = {"val_accuracy": accuracy, "val_loss": 1 - accuracy + 0.01 * float(rng.normal())}
        if order.phase == "test":
            found |= {"test_accuracy": accuracy - 0.01, "test_loss": 1 - accuracy}
        return found

    def loss(self, order: SegmentOrder, share: float) -> float:
        return 2.0 / (1 + 10 * share)

    def seconds(self, order: SegmentOrder) -> float:
        rng = keyed_rng(order.seed, order.trial, "speed")
        return self._seconds * (0.5 + float(rng.random()))


def start(
    plan: SearchPlan,
    log: EventLog,
    clock: HandClock,
    slots: int = 1,
    faults: Faults | None = None,
) -> Engine:
    """An engine whose driver has started and whose subset is there."""
    engine = Engine(plan, log, clock, faults=faults)
    engine.handle(DriverStart(VERSIONS, "sha", slots, "simulated"), SubsetBuilt(None, False, 0.0))
    return engine


def standing(scheduler: str, *rungs: int, **overrides: Any) -> JobState:
    """A job with so many trials at each rung, the lower number the better, and all of them wait."""
    state = JobState(make_plan(scheduler=scheduler, trials=30, **overrides))
    for number in range(rungs[0]):
        evolve(state, number, 0.0, ev.TrialProposed(number, {}, 0, "random", 0.0))
    for rung, count in enumerate(rungs):
        for number in range(count):
            state.rungs[rung].add(Value(number, 1.0 - 0.01 * number, 0.1 + 0.01 * number))
            state.rungs[rung].park(number)
            trial = state.trials[number]
            trial.values[rung] = state.rungs[rung].values[number]
            trial.rung, trial.boundary = rung + 1, state.plan.rungs[rung].boundary
    return state


def passes_of(rows: Iterable[tuple[int, float, str, str]]) -> dict[int, list[PassStats]]:
    """What each trial's passes looked like, each of them once, from a job's log."""
    found: dict[int, dict[int, PassStats]] = {}
    for _, _, kind, text in rows:
        event = ev.decode(kind, text)
        if isinstance(event, ev.Passes):
            known = found.setdefault(event.trial, {})
            for stats in event.passes:
                known.setdefault(stats.number, stats)
    return {trial: list(known.values()) for trial, known in sorted(found.items())}


def run_simulated(
    plan: SearchPlan,
    curves: Any = None,
    slots: int = 1,
    log: EventLog | None = None,
    faults: Faults | None = None,
) -> Engine:
    """A whole job on curves, in one go."""
    clock = HandClock()
    engine = start(plan, log if log is not None else MemoryLog(), clock, slots, faults)
    Simulated(curves or PlantedCurves(), clock).run(engine)
    return engine
