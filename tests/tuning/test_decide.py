"""What follows from what: budgets, goals, commands, failures and the confirmation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from automata_svc.errors import AutomataError, Unavailable
from automata_svc.jobs.replay import divergences
from automata_svc.results.why import why
from automata_svc.trials.types import PassTable, Report, SegmentOrder
from automata_svc.tuning import costing
from automata_svc.tuning import events as ev
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import (
    Asked,
    DriverStart,
    Reported,
    SegmentFailed,
    SlotsSet,
    SubsetBuilt,
    Ticked,
    template_failed,
)
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from tests.tuning.build import PlantedCurves, make_plan, passes_of, run_simulated
from tests.tuning.test_simulated import OURS, Audited, Mishap, Simulator, audit, run_audited


def events_of(engine: Any, kind: type[ev.Event]) -> list[Any]:
    log: MemoryLog = engine.log if isinstance(engine, Audited) else engine._log
    decoded = [ev.decode(kind_, text) for _, _, kind_, text in log.rows]
    return [event for event in decoded if isinstance(event, kind)]


def limited(plan: SearchPlan, price: float) -> SearchPlan:
    values: dict[str, Any] = {**vars(plan), "price_limit": price}
    return SearchPlan(**values)


def rung_price(plan: SearchPlan, rung: int, trials: int) -> float:
    start = 0 if rung == 0 else plan.rungs[rung - 1].boundary
    return trials * costing.search_price(plan, start, plan.rungs[rung].boundary)


def winner(state: Any) -> tuple[Any, ...]:
    result = state.result
    return (result.trial, result.boundary, result.val, result.test)


class Step:
    """A job driven by hand: run it until something is true, then say what happens."""

    def __init__(self, plan: SearchPlan, slots: int = 1, curves: Any = None) -> None:
        self.clock = HandClock()
        self.engine = Audited(plan, self.clock)
        self.curves = curves or PlantedCurves()
        self.start(slots)

    @property
    def state(self) -> Any:
        return self.engine.state

    def start(self, slots: int = 1) -> None:
        self.engine.handle(
            DriverStart(OURS, "sha", slots, "simulated"), SubsetBuilt(None, False, 0.0)
        )

    def until(self, done: Callable[[Any], bool]) -> None:
        simulator = Simulated(self.curves, self.clock)
        simulator._n_val, simulator._n_test = self.engine.plan.n_val, self.engine.plan.n_test
        for _ in range(10_000):
            if self.engine.finished or done(self.state):
                return
            for order in self.engine.take_orders(1):
                simulator._start(order)
            due = simulator._due.pop(0)
            if self.engine.report(Reported(simulator._report(due))) == "continue":
                following = due.index + 1
                simulator._push(due.order, due.boundaries, following, due.boundaries[due.index])
        raise AssertionError("it never came")

    def to_the_end(self) -> None:
        Simulator(self.curves, self.clock).run(self.engine)
        audit(self.engine)


# ---- price -----------------------------------------------------------------------------------


def test_an_incomplete_rung_promotes_nobody_and_the_best_with_company_is_confirmed():
    plan = make_plan(trials=9, keep=(4, 2, 1))
    # All of the first rung, two of the second's four, and a confirmation from there.
    price = rung_price(plan, 0, 9) + rung_price(plan, 1, 2) + costing.finish_price(plan, 1)
    engine = run_audited(limited(plan, price))
    state = engine.state
    assert state.state == "SUCCEEDED" and state.move.reason.startswith("budget:")
    assert [len(ranking) for ranking in state.rungs] == [9, 2, 0]
    assert state.promoted[1] == set()
    assert state.confirm is not None and state.confirm.rung == 1
    assert state.confirm.trials == (state.rungs[1].order()[0],)
    assert state.price == pytest.approx(price)


def test_one_value_at_the_highest_rung_is_no_comparison():
    plan = make_plan(trials=9, keep=(4, 2, 1))
    price = rung_price(plan, 0, 9) + rung_price(plan, 1, 1) + costing.finish_price(plan, 1)
    state = run_audited(limited(plan, price)).state
    assert [len(ranking) for ranking in state.rungs] == [9, 1, 0]
    assert state.confirm is not None and state.confirm.rung == 0
    assert state.price <= price + 1e-9


def test_a_budget_for_one_trial_confirms_that_one():
    plan = make_plan(trials=9)
    price = rung_price(plan, 0, 1) + costing.finish_price(plan, 0)
    state = run_audited(limited(plan, price)).state
    assert state.state == "SUCCEEDED" and len(state.trials) == 1
    assert state.result is not None and state.result.trial == 0
    assert state.price == pytest.approx(price)


def test_a_budget_that_pays_everything_changes_nothing():
    plan = make_plan(trials=9)
    free = run_audited(plan).state
    bounded = run_audited(limited(plan, free.price + 1e-6)).state
    assert bounded.closed is None
    assert [t.decisions for t in bounded.trials] == [t.decisions for t in free.trials]
    assert bounded.result == free.result


@pytest.mark.parametrize("scheduler", ["asha", "asha_promote"])
def test_a_trial_that_goes_on_is_charged_once(scheduler):
    """Exactly the price of what an unlimited job does is enough for it."""
    plan = make_plan(trials=9, scheduler=scheduler)
    free = run_audited(plan).state
    bounded = run_audited(limited(plan, free.price)).state
    assert bounded.closed is None, bounded.closed
    assert bounded.result == free.result


def test_price_is_training_rows_and_a_third_of_the_forward_rows():
    plan = make_plan(trials=4, keep=(2, 1, 1), n_val=300, n_test=150)
    state = run_audited(plan).state
    rungs = [rung_price(plan, rung, count) for rung, count in enumerate((4, 2, 1))]
    share = plan.rungs[-1].share
    confirm = (1 - share) + 6 * 300 / 3 / 20_000  # values at .5, .6, … 1
    test = (300 + 150) / 3 / 20_000
    assert state.price == pytest.approx(sum(rungs) + confirm + test)


# ---- time, goal, patience --------------------------------------------------------------------


def test_time_that_is_over_closes_the_search_and_what_runs_goes_on_to_its_rung():
    job = Step(make_plan(trials=9, wall_clock_s=100.0), slots=1)
    job.until(lambda state: len(state.rungs[0]) == 3)
    job.engine.handle(Ticked(60.0))
    assert job.state.closed is None
    job.engine.handle(Ticked(60.0))
    assert job.state.closed is not None and "100 s" in job.state.closed.reason
    running = set(job.state.open)
    job.start()  # the next driver
    job.to_the_end()
    assert job.state.state == "SUCCEEDED"
    assert len(job.state.trials) == 4 and running == {3}
    assert len(job.state.rungs[0]) == 4  # the fourth went on to its rung
    assert job.state.alive_s == 120.0


def test_time_is_counted_while_a_driver_lives_and_over_drivers():
    job = Step(make_plan(trials=9, wall_clock_s=100.0))
    job.engine.handle(Ticked(60.0))
    job.clock.now += 10_000  # nobody drives it
    job.start()
    assert job.state.closed is None
    job.engine.handle(Ticked(39.0))
    assert job.state.closed is None
    job.engine.handle(Ticked(1.0))
    assert job.state.closed is not None


def test_without_a_time_budget_ticks_are_not_stored():
    job = Step(make_plan(trials=9))
    before = job.state.seq
    job.engine.handle(Ticked(5.0))
    assert job.state.seq == before


@pytest.mark.parametrize("scheduler", ["successive_halving", "asha", "asha_promote", "fifo"])
@pytest.mark.parametrize("slots", [1, 3])
def test_a_goal_that_is_reached_ends_the_search(scheduler, slots):
    plan = make_plan(trials=9, scheduler=scheduler, goal=0.3)
    engine = run_audited(plan, slots=slots)
    state = engine.state
    assert state.goal_reached is not None
    assert state.closed is not None and state.closed.reason.startswith("goal:")
    assert state.state == "SUCCEEDED" and state.move.reason == state.closed.reason
    reached = state.trials[state.goal_reached]
    assert max(v.metric or 0.0 for v in reached.values.values()) >= 0.3
    # `audit` has checked that no segment started and nobody went on after it was closed.


def test_a_goal_below_is_a_goal_where_less_is_better():
    plan = make_plan(trials=9, mode="min", goal=0.5)
    state = run_audited(plan).state
    assert state.goal_reached == 0
    assert run_audited(make_plan(trials=9, mode="min", goal=-1.0)).state.goal_reached is None


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_value_at_the_goal_has_reached_it(mode):
    curves = PlantedCurves()
    curves.spoil = lambda order, share: {"val_accuracy": 0.5, "val_loss": 0.5, "test_accuracy": 0.5}
    state = run_audited(make_plan(trials=9, mode=mode, goal=0.5), curves).state
    assert state.goal_reached == 0


@pytest.mark.parametrize("patience", [1, 3])
def test_trials_without_a_better_value_close_the_search(patience):
    class Falling(PlantedCurves):
        def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
            found = dict(super().values(order, share))
            # Better up to trial 2, then never again.
            found["val_accuracy"] = 0.5 + 0.1 * min(order.trial, 2) - 0.01 * (order.trial > 2)
            return found

    plan = make_plan(trials=12, scheduler="asha", no_improve_trials=patience)
    state = run_audited(plan, Falling()).state
    assert state.closed is not None and "no better first-rung value" in state.closed.reason
    assert len(state.trials) == 3 + patience


def test_patience_that_ends_with_the_rung_promotes_nobody():
    plan = make_plan(trials=4, keep=(2, 1, 1), no_improve_trials=3)

    class FirstIsBest(PlantedCurves):
        def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
            return {**super().values(order, share), "val_accuracy": 0.9 - 0.1 * order.trial}

    state = run_audited(plan, FirstIsBest()).state
    assert state.closed is not None
    assert state.confirm is not None and (state.confirm.rung, state.confirm.trials) == (0, (0,))


# ---- commands --------------------------------------------------------------------------------


def test_stop_ends_everything_at_once_for_good():
    job = Step(make_plan(trials=9), slots=2)
    job.until(lambda state: len(state.rungs[0]) == 3)
    job.engine.handle(Asked("stop", "changed my mind"))
    assert job.state.state == "CANCELLED" and job.state.move.reason == "changed my mind"
    assert all(trial.is_over for trial in job.state.trials)
    assert not job.state.open and not job.engine.take_orders()
    assert job.engine.store == set()
    before = job.state.seq
    job.start()
    job.engine.handle(Asked("pause"))
    assert job.state.seq == before  # nothing more happens to a job that is over


def test_a_paused_job_orders_nothing_and_goes_on_as_if_it_had_not_been_paused():
    plan = make_plan(trials=9, search="tpe", scheduler="asha_promote")
    whole = run_audited(plan).state
    job = Step(plan)
    for values in (2, 5, 8):
        job.until(lambda state, values=values: len(state.rungs[0]) >= values)
        job.engine.handle(Asked("pause"))
        assert job.state.state == "PAUSED" and job.engine.finished
        assert job.engine.take_orders() == []
        job.start()
        assert job.state.state == "RUNNING"
    job.to_the_end()
    assert winner(job.state) == winner(whole)
    assert [t.params for t in job.state.trials] == [t.params for t in whole.trials]


def test_a_job_that_never_ran_can_be_paused_and_stopped():
    engine = Engine(make_plan(), MemoryLog(), HandClock())
    engine.handle(Asked("pause"))
    assert engine.state.state == "PAUSED"
    engine.handle(Asked("stop"))
    assert engine.state.state == "CANCELLED"
    assert engine.state.trials == []


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_slots_that_shrink_are_given_back_at_segment_ends(slots):
    job = Step(make_plan(trials=9), slots=4)
    assert len(job.state.open) == 4
    job.engine.handle(SlotsSet(slots))
    assert len(job.state.open) == max(4, slots)
    job.until(lambda state: len(state.rungs[0]) >= 4)
    assert len(job.state.open) <= slots


def test_a_job_that_has_no_slot_yet_is_not_over():
    engine = Engine(make_plan(trials=3), MemoryLog(), HandClock())
    engine.handle(DriverStart({"automata": "test"}, "sha", 0, "test"), SubsetBuilt(None, False, 0))
    assert engine.state.state == "RUNNING" and engine.state.trials == []
    engine.handle(SlotsSet(1))
    assert len(engine.state.open) == 1


# ---- failures --------------------------------------------------------------------------------


def failing(numbers: set[int], retry: bool = False, phase: str = "search") -> Mishap:
    def mishap(order: SegmentOrder, boundary: int) -> SegmentFailed | None:
        if order.trial not in numbers or order.phase != phase:
            return None
        reason = "worker lost" if retry else "error"
        detail = "Traceback …\nValueError: no such layer"
        return SegmentFailed(order.trial, order.segment, reason, detail, retry)

    return mishap


@pytest.mark.parametrize("scheduler", ["successive_halving", "asha", "asha_promote", "fifo"])
def test_a_trial_that_raises_fails_without_a_retry_and_the_job_goes_on(scheduler):
    plan = make_plan(trials=9, scheduler=scheduler)
    state = run_audited(plan, mishap=failing({0, 4})).state
    assert state.state == "SUCCEEDED" and state.failed == 2
    for number in (0, 4):
        trial = state.trials[number]
        assert trial.state == "FAILED" and trial.move.reason == "error: ValueError: no such layer"
        assert len(trial.losses) == 1
        assert (number, -1, None) in state.arrivals  # a searcher is told, and stays away
    assert len(state.trials) == 9


def test_as_many_failures_as_allowed_go_and_one_more_fails_the_job():
    bad = {0, 2, 4}
    allowed = run_audited(make_plan(trials=9, max_failed_trials=3), mishap=failing(bad)).state
    assert allowed.state == "SUCCEEDED" and allowed.failed == 3
    state = run_audited(make_plan(trials=9, max_failed_trials=2), mishap=failing(bad)).state
    assert state.state == "FAILED"
    assert "3 trials failed (max_failed_trials 2)" in state.move.reason
    assert len(state.trials) == 5  # the rest was never started


def test_a_lost_segment_goes_on_from_its_checkpoint_and_costs_nothing_twice():
    plan = make_plan(trials=3, keep=(2, 1, 1), scheduler="fifo", shares=(0.4,), n_train=2000)
    lost: set[int] = set()

    def mishap(order: SegmentOrder, boundary: int) -> SegmentFailed | None:
        if order.trial == 1 and order.phase == "search" and boundary >= 100 and not lost:
            lost.add(boundary)
            return SegmentFailed(1, order.segment, "worker lost", "killed", True)
        return None

    calm, engine = run_audited(plan).state, run_audited(plan, mishap=mishap)
    starts = [e for e in events_of(engine, ev.SegmentStarted) if e.trial == 1]
    again = starts[1]
    assert again.segment == 1 and 0 < again.from_boundary < min(lost)
    assert again.checkpoint is not None and f"/{again.from_boundary}-" in again.checkpoint
    assert again.reason == "retry 1 after: worker lost"
    assert engine.state.price == pytest.approx(calm.price)
    assert winner(engine.state) == winner(calm)


def test_work_that_is_done_again_is_counted_apart():
    """A checkpoint that is gone: the retry goes over known ground."""
    plan = make_plan(trials=1, keep=(1, 1, 1))
    job = Step(plan)
    (order,) = job.engine.take_orders()
    simulator = Simulated(job.curves, job.clock)
    simulator._start(order)
    report = simulator._report(simulator._due[0])
    early: dict[str, Any] = {**vars(report), "boundary": 1, "done": False, "values": None}
    early["checkpoint"] = None  # this template's first checkpoint comes later
    job.engine.report(Reported(Report(**early)))
    spent = job.state.price
    job.engine.handle(SegmentFailed(0, 0, "worker lost", "killed", True))
    (again,) = job.engine.take_orders()
    assert again.from_boundary == 0
    job.engine.report(Reported(Report(**{**early, "segment": 1})))
    assert job.state.price == spent
    assert job.state.redone.train_rows == report.cost.train_rows


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_in_a_row_are_bounded(retries):
    plan = make_plan(trials=4, keep=(2, 1, 1), trial_retries=retries)
    state = run_audited(plan, mishap=failing({1}, retry=True)).state
    assert state.state == "SUCCEEDED"
    trial = state.trials[1]
    assert trial.state == "FAILED" and len(trial.losses) == retries + 1 == trial.segment


def test_retries_with_progress_between_them_are_not_in_a_row():
    plan = make_plan(trials=3, scheduler="fifo", shares=(0.4,), n_train=2000, trial_retries=1)
    due = [100, 130, 160]

    def mishap(order: SegmentOrder, boundary: int) -> SegmentFailed | None:
        if order.trial == 1 and order.phase == "search" and due and boundary >= due[0]:
            del due[0]
            return SegmentFailed(1, order.segment, "worker lost", "killed", True)
        return None

    trial = run_audited(plan, mishap=mishap).state.trials[1]
    assert len(trial.losses) == 3 and trial.state == "COMPLETED"


def test_a_driver_that_ends_costs_no_retry():
    plan = make_plan(trials=4, keep=(2, 1, 1), trial_retries=0)
    job = Step(plan)
    for _ in range(5):
        assert job.engine.take_orders()
        job.start()
    job.to_the_end()
    assert job.state.state == "SUCCEEDED" and job.state.failed == 0


@pytest.mark.parametrize("guards", [({"type": "non_finite"},), ()])
def test_a_worker_that_trips_ends_its_trial_whether_or_not_a_guard_was_asked_for(guards):
    job = Step(make_plan(trials=4, keep=(2, 1, 1), guards=guards))
    (order,) = job.engine.take_orders()
    simulator = Simulated(job.curves, job.clock)
    simulator._start(order)
    tripped: dict[str, Any] = {**vars(simulator._report(simulator._due[0]))}
    tripped |= {"trip": "non_finite", "values": None, "checkpoint": None, "done": True}
    job.engine.report(Reported(Report(**tripped)))
    trial = job.state.trials[0]
    assert trial.state == "STOPPED" and "non_finite" in trial.move.reason
    assert (trial.guard is not None) == bool(guards)
    job.to_the_end()
    assert job.state.state == "SUCCEEDED"


def test_a_diverging_trial_is_stopped_with_the_numbers_it_was_stopped_for():
    class Diverging(PlantedCurves):
        def loss(self, order: SegmentOrder, share: float) -> float:
            return 50.0 if order.trial == 2 and share > 0.1 else super().loss(order, share)

    plan = make_plan(trials=4, scheduler="fifo", shares=(0.5,))
    state = run_audited(plan, Diverging()).state
    trial = state.trials[2]
    assert trial.state == "STOPPED" and trial.guard is not None
    assert trial.guard.rule == "divergence" and trial.guard.value == 50.0
    assert trial.guard.limit < 50.0
    assert trial.move.since > 0
    assert state.state == "SUCCEEDED" and state.failed == 0


class DivergesAtItsRung(PlantedCurves):
    """Trial 1 shows the best value of all and a loss that ran away, in one report."""

    def loss(self, order: SegmentOrder, share: float) -> float:
        return 50.0 if order.trial == 1 and share > 0.155 else super().loss(order, share)

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        best = {"val_accuracy": 0.99, "val_loss": 0.01}
        return best if order.trial == 1 else super().values(order, share)


@pytest.mark.parametrize("scheduler", ["successive_halving", "asha", "asha_promote"])
def test_a_trial_that_is_stopped_at_a_rung_takes_nobodys_place_there(scheduler):
    plan = make_plan(trials=9, shares=(0.16, 0.32), keep=(3, 1), scheduler=scheduler)
    state = run_audited(plan, DivergesAtItsRung()).state
    assert state.trials[1].state == "STOPPED"
    assert 1 not in state.rungs[0].values and len(state.rungs[0]) == 8
    assert [told for told in state.arrivals if told[0] == 1] == [(1, -1, None)]
    compared = [
        d for t in state.trials for d in t.decisions if d.cutoff is not None and d.rung == 0
    ]
    assert all((d.verdict in ("promote", "continue")) == (d.rank <= d.cutoff) for d in compared)
    assert all(1 not in {other.trial for other in d.neighbours} for d in compared)
    if scheduler == "successive_halving":
        assert sum(d.verdict == "promote" for d in compared) == 3
    assert all(why(state, trial.number).agrees is not False for trial in state.trials)


def test_a_trial_that_is_stopped_at_a_rung_reaches_no_goal_and_sets_no_mark():
    plan = make_plan(trials=6, shares=(0.16, 0.32), keep=(3, 1), goal=0.98, no_improve_trials=5)
    state = run_audited(plan, DivergesAtItsRung()).state
    values = [value.metric for value in state.rungs[0].values.values()]
    assert state.closed is None and state.goal_reached is None
    assert len(values) == 5 and state.best_first == max(values)


def test_a_store_that_takes_nothing_pauses_the_job_and_fails_nobody():
    plan = make_plan(trials=4, keep=(2, 1, 1))
    whole = run_audited(plan).state
    job = Step(plan, slots=2)
    (first, second) = job.engine.take_orders()
    said = "no space left; free some"
    job.engine.handle(template_failed(first, Unavailable(said)))
    assert job.state.state == "PAUSED" and job.state.move.reason == said == job.state.halted
    assert job.engine.take_orders() == []
    job.start()
    job.to_the_end()
    assert job.state.failed == 0 and not any(t.losses for t in job.state.trials)
    assert winner(job.state) == winner(whole)


def test_an_interrupt_while_something_is_decided_stores_nothing_and_ends_the_driver():
    plan, log = make_plan(trials=4, keep=(2, 1, 1)), MemoryLog()
    engine = Engine(plan, log, HandClock())

    class Interrupted(type(engine._decider.searcher)):  # type: ignore[misc]
        def propose(self, state: Any, number: int) -> Any:
            raise KeyboardInterrupt

    engine._decider.searcher.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        engine.handle(
            DriverStart(OURS, "sha", 1, "simulated"), SubsetBuilt(None, False, 0.0)
        )  # fmt: skip
    assert log.rows == []
    assert engine.finished
    with pytest.raises(AutomataError, match="must not go on"):
        engine.handle(Asked("pause"))


# ---- what a value is worth ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.9", True, [0.9]])
def test_a_value_that_is_no_number_is_refused_once_with_the_reason(value):
    curves = PlantedCurves()
    curves.spoil = lambda order, share: {"val_accuracy": value} if order.trial == 1 else None
    state = run_audited(make_plan(trials=4, keep=(2, 1, 1)), curves).state
    trial = state.trials[1]
    assert trial.state == "PRUNED"
    assert "val_accuracy is" in trial.move.reason and "not a finite number" in trial.move.reason
    (decided,) = trial.decisions
    assert decided.metric is None


def test_a_confirmation_whose_values_are_all_refused_goes_to_the_other_finalist():
    curves = PlantedCurves()
    plan = make_plan(trials=9, keep=(4, 2, 2), finalists=2)
    first = run_audited(plan).state.confirm.trials[0]
    curves.spoil = lambda order, share: (
        {"val_accuracy": math.nan} if order.trial == first and order.phase == "confirm" else None
    )
    state = run_audited(plan, curves).state
    assert state.state == "SUCCEEDED" and state.result is not None
    assert state.result.trial != first
    assert state.trials[first].state == "FAILED"
    assert "no usable value" in state.trials[first].move.reason


# ---- the confirmation ------------------------------------------------------------------------


class Peaked(PlantedCurves):
    """In a confirmation validation is best at share .7; finalists differ by their number."""

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        found = dict(super().values(order, share))
        if order.phase == "confirm":
            found["val_accuracy"] = 0.9 - abs(share - 0.7) + 0.001 * order.trial
        return found


def test_finalists_are_trained_to_share_1_and_the_best_validation_checkpoint_is_taken():
    plan = make_plan(trials=9, keep=(4, 2, 2), finalists=2)
    engine = run_audited(plan, Peaked(), slots=2)
    state = engine.state
    assert state.confirm is not None and len(state.confirm.trials) == 2
    for number in state.confirm.trials:
        shares = [
            plan.confirm_table(state.trials[number].search_boundary).share_at(b)
            for b in state.trials[number].confirm_values
        ]
        assert min(shares) >= 0.5 and max(shares) == 1.0 and len(shares) == 6
        assert (
            state.trials[number].last_pass + 1
            == plan.confirm_table(state.trials[number].search_boundary).last
        )
    result = state.result
    assert result is not None and result.trial == max(state.confirm.trials)
    assert result.share == pytest.approx(0.7, abs=0.05)
    assert result.checkpoint is not None and f"/{result.trial}/{result.boundary}-" in (
        result.checkpoint
    )


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_test_rows_are_looked_at_once_for_the_chosen_model(top_k):
    plan = make_plan(trials=9, keep=(5, 4, 3), finalists=top_k)
    engine = run_audited(plan, slots=2)
    starts = events_of(engine, ev.SegmentStarted)
    tests = [start for start in starts if start.phase == "test"]
    assert len(tests) == 1
    result = engine.state.result
    assert result is not None
    assert (tests[0].trial, tests[0].checkpoint) == (result.trial, result.checkpoint)
    assert len({s.trial for s in starts if s.phase == "confirm"}) == top_k
    said = [set(event.values) for event in events_of(engine, ev.Passes)]
    assert [any(name.startswith("test_") for name in names) for names in said].count(True) == 1
    assert set(result.test) == {"test_accuracy", "test_loss"}


def test_a_confirmation_from_the_start_has_no_checkpoint_to_go_on_from_and_costs_1():
    plan = make_plan(trials=4, keep=(2, 1, 1), resume=False)
    engine = run_audited(plan)
    (start,) = [s for s in events_of(engine, ev.SegmentStarted) if s.phase == "confirm"]
    assert start.checkpoint is None
    passes = passes_of(engine.log.rows)
    search = sum(s.rows for trial in passes.values() for s in trial)
    assert search == engine.state.cost.train_rows
    trial = engine.state.trials[start.trial]
    rows = sum(s.rows for s in passes[trial.number] if s.number >= trial.search_boundary)
    assert rows == plan.total_rows
    assert engine.state.result is not None
    assert "from the start" in engine.state.result.how


def test_a_training_that_starts_over_is_held_against_its_own_past():
    class Uneven(PlantedCurves):
        """The search walks an easy subset: the whole of the rows begins with a greater loss."""

        def loss(self, order: SegmentOrder, share: float) -> float:
            return super().loss(order, share) * (8 if order.phase == "confirm" else 1)

    plan = make_plan(trials=4, keep=(2, 1, 1), resume=False, guards=({"type": "divergence"},))
    state = run_audited(plan, Uneven()).state
    assert state.state == "SUCCEEDED", state.move.reason


def test_each_pass_of_a_confirmation_has_rows_however_few_there_are():
    plan = replace(make_plan(), n_train=3, table=PassTable(3, 3, 1))  # one epoch of three rows
    table = plan.confirm_table(0)
    rows = [table.rows_at(p + 1) - table.rows_at(p) for p in range(table.last)]
    assert rows == [1, 1, 1]


def test_a_confirmation_can_be_left_out():
    engine = run_audited(make_plan(trials=4, keep=(2, 1, 1), confirm=False))
    state = engine.state
    assert state.state == "SUCCEEDED" and "not confirmed" in state.move.reason
    assert state.result is None and state.confirm is None
    assert {s.phase for s in events_of(engine, ev.SegmentStarted)} == {"search"}
    best = state.rungs[-1].best()
    assert best is not None and state.trials[best].state == "COMPLETED"


def test_a_full_training_that_the_search_has_done_is_its_own_confirmation():
    plan = make_plan(
        trials=3, scheduler="fifo", shares=(1.0,), strategy="full", subset_rows=1000, slices=1
    )
    engine = run_audited(plan)
    state = engine.state
    assert state.state == "SUCCEEDED", state.move.reason
    assert {s.phase for s in events_of(engine, ev.SegmentStarted)} == {"search", "test"}
    best = state.rungs[0].best()
    assert state.result is not None and state.result.trial == best
    assert state.result.share == 1.0 and "share 1" in state.result.how
    assert state.cost.train_rows == 3 * plan.total_rows


@pytest.mark.parametrize("retry", [False, True])
def test_a_finalist_that_fails_leaves_it_to_the_other(retry):
    plan = make_plan(trials=9, keep=(4, 2, 2), finalists=2)
    first, second = run_audited(plan).state.confirm.trials
    state = run_audited(plan, mishap=failing({first}, retry, "confirm")).state
    assert state.state == "SUCCEEDED"
    assert state.result is not None and state.result.trial == second
    assert state.trials[first].state == "FAILED"


def test_a_chosen_model_that_cannot_be_tested_leaves_it_to_the_other():
    plan = make_plan(trials=9, keep=(4, 2, 2), finalists=2)
    whole = run_audited(plan).state
    assert whole.result is not None
    chosen = whole.result.trial
    state = run_audited(plan, mishap=failing({chosen}, False, "test")).state
    assert state.state == "SUCCEEDED"
    assert state.result is not None and state.result.trial != chosen


def test_when_every_finalist_fails_the_job_fails_and_says_so():
    plan = make_plan(trials=9, keep=(4, 2, 2), finalists=2)
    state = run_audited(plan, mishap=failing(set(range(9)), False, "confirm")).state
    assert state.state == "FAILED"
    assert "no finalist came through its confirmation" in state.move.reason


def test_when_all_that_went_on_are_lost_the_job_says_that_nobody_is_left():
    def mishap(order: SegmentOrder, boundary: int) -> SegmentFailed | None:
        if order.segment == 0:
            return None
        return SegmentFailed(order.trial, order.segment, "error", "ValueError: no", False)

    state = run_audited(make_plan(trials=9), mishap=mishap).state
    assert state.state == "FAILED" and "nobody is left to confirm" in state.move.reason


def test_a_better_trial_at_a_lower_rung_is_named_and_not_chosen():
    class Sagging(PlantedCurves):
        """The promoted ones get worse on their way up; one that waits below looks better."""

        def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
            found = dict(super().values(order, share))
            if order.phase == "search":
                found["val_accuracy"] = 0.9 - 0.01 * order.trial - 2 * share
            return found

    plan = make_plan(trials=5, scheduler="asha_promote", reduction_factor=4.0)
    state = run_audited(plan, Sagging()).state
    assert state.confirm is not None
    assert state.confirm.rung > 0 and state.confirm.ahead
    assert not set(state.confirm.ahead) & set(state.confirm.trials)


# ---- replay ----------------------------------------------------------------------------------


def our_version(plan: SearchPlan, **fields: Any) -> Engine:
    clock = HandClock()
    engine = Engine(plan, MemoryLog(), clock)
    engine.handle(DriverStart(OURS, "sha", 1, "simulated"), SubsetBuilt(None, False, 0.0))
    Simulated(PlantedCurves(), clock).run(engine)
    return engine


@pytest.mark.parametrize("search", ["random", "tpe", "qmc", "grid"])
@pytest.mark.parametrize("scheduler", ["successive_halving", "asha", "asha_promote", "fifo"])
def test_a_sound_log_replays_without_a_divergence(scheduler, search):
    engine = our_version(make_plan(scheduler=scheduler, search=search))
    assert divergences(engine.plan, engine._log.rows) == []


TAMPERINGS = {
    "a verdict": ("decision", '"verdict":"promote"', '"verdict":"prune"'),
    "a rank": ("decision", '"rank":1', '"rank":2'),
    "a parameter": ("trial_proposed", '"hidden":', '"hidden":1'),
    "a checkpoint to go on from": ("segment_started", "-s0.pt", "-s9.pt"),
    "the winner's test value": ("confirm_result", '"test_accuracy":0', '"test_accuracy":1'),
    "a reason": ("trial_ended", "not among the finalists", "it was bad luck"),
}


@pytest.mark.parametrize("what", sorted(TAMPERINGS))
def test_a_decision_that_was_tampered_with_is_found(what):
    scheduler = "asha_promote" if what == "a reason" else "successive_halving"
    engine = our_version(make_plan(scheduler=scheduler))
    kind, before, after = TAMPERINGS[what]
    rows = list(engine._log.rows)
    index = next(i for i, row in enumerate(rows) if row[2] == kind and before in row[3])
    seq, at, _, text = rows[index]
    rows[index] = (seq, at, kind, text.replace(before, after, 1))
    found = divergences(engine.plan, rows)
    assert found and found[0].seq == seq
    assert after in found[0].expected and before in found[0].derived


def test_an_event_that_was_taken_out_is_found():
    engine = our_version(make_plan())
    rows = [row for row in engine._log.rows if row[2] != "confirm_result"]
    assert divergences(engine.plan, rows)


def test_a_stretch_of_another_version_is_applied_and_not_compared():
    engine = run_simulated(make_plan())  # written by version "test"
    rows = [
        (seq, at, kind, text.replace('"verdict":"promote"', '"verdict":"promote" ', 1))
        for seq, at, kind, text in engine._log.rows
    ]
    assert divergences(engine.plan, rows) == []
