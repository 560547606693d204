"""Kill anything, lose nothing: a crash after every append and before every effect, exhaustively.

The driver dies at a named point; another one starts on the same log. Proposals, decisions and
winner must
be those of the run that nobody killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from automata_svc.tuning import events as ev
from automata_svc.tuning.engine import Engine, Faults
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from automata_svc.tuning.state import JobState
from tests.tuning.build import PlantedCurves, make_plan, run_simulated, start


class Killed(BaseException):
    """The driver died here."""


class DyingLog(MemoryLog):
    """Dies at its n-th append, before or after the events are stored."""

    def __init__(self, dies_at: int, stored: bool) -> None:
        super().__init__()
        self.dies_at, self.stored, self.appends = dies_at, stored, 0

    def append(self, first_seq: int, at: float, events: Sequence[tuple[str, str]]) -> None:
        self.appends += 1
        if self.appends == self.dies_at and not self.stored:
            raise Killed
        super().append(first_seq, at, events)
        if self.appends == self.dies_at:
            raise Killed


def outcome(state: JobState) -> dict[str, Any]:
    """What promise 2 is about: proposals, decisions with their reasons, and the winner."""
    return {
        "state": state.state,
        "proposals": [(t.number, dict(t.params), t.origin) for t in state.trials],
        "decisions": [
            [(d.rung, d.verdict, d.rule, d.size, d.rank, d.cutoff, d.metric) for d in t.decisions]
            for t in state.trials
        ],
        "ends": [t.state for t in state.trials],
        "winner": state.result
        and (state.result.trial, state.result.boundary, state.result.val, state.result.test),
        "price": pytest.approx(state.price),
    }


def run_with_kills(plan: SearchPlan, log: MemoryLog, slots: int = 1) -> Engine:
    """Drives a job to its end, starting a new driver whenever one dies."""
    clock, curves = HandClock(), PlantedCurves()
    for _ in range(4):
        try:
            engine = start(plan, log, clock, slots)
            Simulated(curves, clock).run(engine)
            return engine
        except Killed:
            clock.now += 17.0  # whoever notices takes a while
    raise AssertionError("it keeps dying")


def appends_of(plan: SearchPlan, slots: int = 1) -> tuple[int, JobState]:
    log = DyingLog(dies_at=-1, stored=True)
    engine = run_simulated(plan, log=log, slots=slots)
    return log.appends, engine.state


@pytest.mark.parametrize("stored", [False, True], ids=["before the append", "after the append"])
@pytest.mark.parametrize("scheduler", ["successive_halving", "asha", "asha_promote", "fifo"])
@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_crash_at_any_append_changes_nothing_decided(search, scheduler, stored):
    plan = make_plan(search=search, scheduler=scheduler, trials=7, startup_trials=3)
    appends, whole = appends_of(plan)
    expected = outcome(whole)
    assert appends > 20
    for dies_at in range(1, appends + 1):
        engine = run_with_kills(plan, DyingLog(dies_at, stored))
        assert outcome(engine.state) == expected, f"killed at append {dies_at}"


@pytest.mark.parametrize("scheduler", ["successive_halving", "fifo"])
@pytest.mark.parametrize("search", ["random", "qmc", "grid"])
@pytest.mark.parametrize("slots", [2, 3])
def test_independent_searchers_and_synchronous_rungs_hold_at_any_parallelism(
    search, scheduler, slots
):
    plan = make_plan(search=search, scheduler=scheduler, trials=6)
    expected = outcome(appends_of(plan)[1])  # one slot, never killed
    expected["decisions"] = verdicts(expected["decisions"])
    appends, _ = appends_of(plan, slots)
    for dies_at in range(1, appends + 1, 3):
        engine = run_with_kills(plan, DyingLog(dies_at, stored=True), slots)
        found = outcome(engine.state)
        found["decisions"] = verdicts(found["decisions"])
        assert found == expected, f"killed at append {dies_at}"


def verdicts(decisions: list[list[tuple[Any, ...]]]) -> list[list[tuple[Any, ...]]]:
    """Without the waits: how full a rung was on arrival depends on who was faster."""
    return [[d for d in trial if d[1] not in ("wait", "complete")] for trial in decisions]


@pytest.mark.parametrize("point", ["appended", "acted"])
def test_a_crash_between_the_append_and_what_follows_from_it_changes_nothing(point):
    plan = make_plan(trials=6)
    expected = outcome(appends_of(plan)[1])

    def dying(at: int) -> Callable[[str], None]:
        seen = 0

        def fault(name: str) -> None:
            nonlocal seen
            seen += name == point
            if seen == at:
                raise Killed

        return fault

    for at in range(1, 30):
        log, clock, curves = MemoryLog(), HandClock(), PlantedCurves()
        try:
            engine = start(plan, log, clock, faults=Faults(dying(at)))
            Simulated(curves, clock).run(engine)
        except Killed:
            engine = start(plan, log, clock)
            Simulated(curves, clock).run(engine)
        assert outcome(engine.state) == expected


def test_a_report_of_a_segment_that_was_given_up_is_answered_with_stop_and_not_stored():
    plan, log, clock = make_plan(trials=3), MemoryLog(), HandClock()
    engine = start(plan, log, clock)
    (zombie,) = engine.take_orders()
    again = start(plan, log, clock)  # the next driver
    (order,) = again.take_orders()
    assert (order.trial, order.segment) == (zombie.trial, zombie.segment + 1)
    stored = len(log.rows)
    simulated = Simulated(PlantedCurves(), clock)
    simulated._start(zombie)
    from automata_svc.tuning.inputs import Reported

    assert again.report(Reported(simulated._report(simulated._due[0]))) == "stop"
    assert len(log.rows) == stored


def test_an_engine_that_could_not_store_refuses_to_go_on():
    log = DyingLog(dies_at=2, stored=False)
    plan, clock = make_plan(trials=3), HandClock()
    engine = start(plan, log, clock)
    with pytest.raises(Killed):
        Simulated(PlantedCurves(), clock).run(engine)
    assert engine.finished
    assert not engine.take_orders()


def test_a_log_replays_to_the_state_that_wrote_it():
    log = MemoryLog()
    engine = run_simulated(make_plan(trials=9), slots=2, log=log)
    again = Engine(engine.plan, log, HandClock())
    assert outcome(again.state) == outcome(engine.state)
    assert again.state.seq == engine.state.seq
    assert [ev.encode(ev.decode(kind, text)) for _, _, kind, text in log.rows] == [
        (kind, text) for _, _, kind, text in log.rows
    ]
