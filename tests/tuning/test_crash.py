"""Kill anything, lose nothing: a crash after every append and before every effect, exhaustively.

The driver dies at a named point; another one starts on the same log. Proposals, decisions and
winner must be those of the run that nobody killed. A new searcher or scheduler joins by its table.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from automata_svc.tuning import events as ev
from automata_svc.tuning.engine import FAULT_POINTS, Engine, Faults
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.searchers import SEARCHERS
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


class DiesAt:
    """Dies when it comes to a named point for the n-th time, once."""

    def __init__(self, point: str, count: int) -> None:
        self.point, self.left, self.died = point, count, False

    def __call__(self, name: str) -> None:
        self.left -= name == self.point
        if self.left == 0 and not self.died:
            self.died = True
            raise Killed


class DiesOften:
    """Dies at about one point in twelve, until it has died eight times."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.deaths = draw, 0

    def __call__(self, name: str) -> None:
        if self.deaths < 8 and self.draw.random() < 1 / 12:
            self.deaths += 1
            raise Killed


def run_with_kills(
    plan: SearchPlan,
    log: MemoryLog,
    slots: int = 1,
    faults: Callable[[str], None] = lambda name: None,
) -> Engine:
    """Drives a job to its end, starting a new driver whenever one dies."""
    clock, curves = HandClock(), PlantedCurves()
    for _ in range(10):
        try:
            engine = start(plan, log, clock, slots, faults=Faults(faults))
            Simulated(curves, clock).run(engine)
            return engine
        except Killed:
            clock.now += 17.0  # whoever notices takes a while
    raise AssertionError("it keeps dying")


def points_of(plan: SearchPlan) -> tuple[int, JobState]:
    """How often an unharmed run comes to each fault point, and where it ends."""
    seen = Counter[str]()

    def count(name: str) -> None:
        seen[name] += 1

    engine = run_simulated(plan, faults=Faults(count))
    assert set(seen) == set(FAULT_POINTS) and len(set(seen.values())) == 1
    return seen[FAULT_POINTS[0]], engine.state


def appends_of(plan: SearchPlan, slots: int = 1) -> tuple[int, JobState]:
    log = DyingLog(dies_at=-1, stored=True)
    engine = run_simulated(plan, log=log, slots=slots)
    return log.appends, engine.state


@pytest.mark.parametrize("point", FAULT_POINTS)
@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
@pytest.mark.parametrize("search", sorted(SEARCHERS))
def test_a_crash_at_any_point_changes_nothing_decided(search, scheduler, point):
    plan = make_plan(search=search, scheduler=scheduler, trials=6, startup_trials=3)
    passed, whole = points_of(plan)
    expected = outcome(whole)
    assert passed > 20
    for dies_at in range(1, passed + 1):
        log, faults = MemoryLog(), DiesAt(point, dies_at)
        engine = run_with_kills(plan, log, faults=faults)
        assert faults.died
        assert outcome(engine.state) == expected, f"killed at {point} {dies_at}"


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
@pytest.mark.parametrize("search", sorted(SEARCHERS))
def test_many_crashes_in_one_job_change_nothing_decided(search, scheduler):
    plan = make_plan(search=search, scheduler=scheduler, trials=6, startup_trials=3)
    expected = outcome(points_of(plan)[1])
    draw = random.Random(f"{search} {scheduler}")
    for _ in range(5):
        faults = DiesOften(draw)
        engine = run_with_kills(plan, MemoryLog(), faults=faults)
        assert faults.deaths > 1
        assert outcome(engine.state) == expected


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
