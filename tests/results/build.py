"""Jobs that ended in every way a trial can end, made by the real core."""

from __future__ import annotations

from typing import Any

from automata_svc.trials.types import Cost, PassStats, Report, SegmentOrder
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Reported, SegmentFailed
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from automata_svc.tuning.state import JobState
from tests.tuning.build import PlantedCurves, make_plan, run_simulated, start

TRACEBACK = (
    'Traceback (most recent call last):\n  File "mine.py", line 7, in train\n'
    "ValueError: hidden must divide 64\n"
)


def finished(slots: int = 2, curves: Any = None, **overrides: Any) -> JobState:
    """27 trials over three rungs, two of them confirmed."""
    values: dict[str, Any] = {"trials": 27, "keep": (9, 4, 2), "finalists": 2, **overrides}
    return run_simulated(make_plan(**values), curves, slots=slots).state


class OneIsNaN(PlantedCurves):
    """Trial 3 reports a metric that is no number."""

    def values(self, order: SegmentOrder, share: float) -> dict[str, Any]:
        found = dict(super().values(order, share))
        if order.trial == 3:
            found["val_accuracy"] = float("nan")
        return found


def troubled() -> JobState:
    """Trial 0 trips a guard, 1 raises, 2 loses its worker once, 3 reports NaN; the rest is well."""
    clock = HandClock()
    engine = start(make_plan(trials=9, keep=(4, 2, 1)), MemoryLog(), clock, slots=3)
    orders = {order.trial: order for order in engine.take_orders()}
    clock.now = 1.0
    engine.handle(Reported(_tripped(orders[0])))
    engine.handle(SegmentFailed(1, orders[1].segment, "error", TRACEBACK, retry=False))
    engine.handle(SegmentFailed(2, orders[2].segment, "worker lost", "exit code 137", retry=True))
    Simulated(OneIsNaN(), clock).run(engine)
    return engine.state


def stopped() -> JobState:
    """A job that its user stopped while six trials waited at the first rung."""
    from automata_svc.tuning.inputs import Asked

    clock = HandClock()
    engine = start(make_plan(trials=9, keep=(4, 2, 1)), MemoryLog(), clock)
    runner = Simulated(_StopAfter(engine, 6), clock)
    runner.run(engine)
    engine.handle(Asked("stop", "wrong dataset"))
    return engine.state


class _StopAfter(PlantedCurves):
    def __init__(self, engine: Engine, values: int) -> None:
        super().__init__()
        self._engine, self._left = engine, values

    def values(self, order: SegmentOrder, share: float) -> dict[str, Any]:
        from automata_svc.tuning.inputs import Asked

        self._left -= 1
        if self._left == 0:
            self._engine.handle(Asked("pause"))
        return dict(super().values(order, share))


def _tripped(order: SegmentOrder) -> Report:
    stats = PassStats(0, 100, 4, None, None, non_finite=2)
    return Report(
        trial=order.trial,
        segment=order.segment,
        boundary=1,
        passes=(stats,),
        values=None,
        checkpoint=None,
        cost=Cost(train_rows=100, train_seconds=2.0),
        trip="non_finite",
        done=True,
    )
