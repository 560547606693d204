"""Whole jobs on simulated curves: invariants of every plan, and oracles for what is kept."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automata_svc import __version__
from automata_svc.jobs.replay import divergences
from automata_svc.trials.types import SegmentOrder
from automata_svc.tuning import costing
from automata_svc.tuning import events as ev
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.inputs import DriverStart, Input, Reported, SegmentFailed, SubsetBuilt
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.state import JobState
from tests.tuning.build import VERSIONS, PlantedCurves, make_plan, passes_of

# Replaying compares only what this version wrote.
OURS = {**VERSIONS, "automata": __version__}

ALL = sorted(SCHEDULERS)

# (order, boundary of the next report) → what befalls the segment instead of that report
Mishap = Callable[[SegmentOrder, int], SegmentFailed | None]


class Simulator(Simulated):
    """Simulated, whose workers may be lost on their way to a report."""

    mishap: Mishap = staticmethod(lambda order, boundary: None)

    def run(self, engine: Engine) -> None:
        self._n_val, self._n_test = engine.plan.n_val, engine.plan.n_test
        while not engine.finished:
            for order in engine.take_orders():
                self._start(order)
            if not self._due:
                return
            due = heapq.heappop(self._due)
            self._clock.now = max(self._clock.now, due.time)
            order, boundary = due.order, due.boundaries[due.index]
            if not engine.wants(order.trial, order.segment):
                continue
            lost = self.mishap(order, boundary)
            if lost is not None:
                engine.handle(lost)
                # What a worker that was given up says later changes nothing.
                before = engine.state.seq
                assert engine.report(Reported(self._report(due))) == "stop"
                engine.handle(lost)
                assert engine.state.seq == before
            elif engine.report(Reported(self._report(due))) == "continue":
                self._push(order, due.boundaries, due.index + 1, due.boundaries[due.index])


class Audited(Engine):
    """An engine that checks after everything it handles what must always be so."""

    def __init__(self, plan: SearchPlan, clock: HandClock) -> None:
        self.log = MemoryLog()
        self.store: set[str] = set()  # checkpoints as a blob store would hold them
        super().__init__(
            plan, self.log, clock, on_events=self._written, drop_blobs=self._dropped
        )  # fmt: skip

    def handle(self, *inputs: Input) -> None:
        super().handle(*inputs)
        assert len(self.state.open) <= max(self.state.slots, 0) or self.state.free_slots < 0
        assert self.store == self.referenced_blobs()

    def _written(self, state: JobState, happened: Sequence[ev.Event]) -> None:
        for event in happened:  # a checkpoint is durable before its report is sent
            if isinstance(event, ev.Passes) and event.checkpoint is not None:
                self.store.add(event.checkpoint)

    def _dropped(self, keys: Sequence[str]) -> None:
        assert set(keys) <= self.store, "dropped twice, or never written"
        self.store -= set(keys)


def run_audited(
    plan: SearchPlan,
    curves: Any = None,
    slots: int = 1,
    mishap: Mishap | None = None,
) -> Audited:
    clock = HandClock()
    engine = Audited(plan, clock)
    engine.handle(DriverStart(OURS, "sha", slots, "simulated"), SubsetBuilt(None, False, 0.0))
    simulator = Simulator(curves or PlantedCurves(), clock)
    if mishap is not None:
        simulator.mishap = mishap
    simulator.run(engine)
    audit(engine)
    return engine


def audit(engine: Audited) -> None:
    """Walks a finished job's log event by event and checks what each step was allowed to do."""
    plan, state = engine.plan, JobState(engine.plan)
    may_go_on: set[int] = set()  # trials that ran when the search was closed
    for seq, at, kind, text in engine.log.rows:
        event = ev.decode(kind, text)
        if isinstance(event, ev.SegmentStarted):
            assert state.free_slots > 0, "a segment without a slot"
            assert event.trial not in state.open
            if state.closed is not None and event.phase == "search":
                assert event.trial in may_go_on, "started after the search was closed"
            if plan.price_limit is not None and event.phase == "search":
                trial = state.trials[event.trial]
                rung = min(trial.rung, len(plan.rungs) - 1)
                cost = costing.search_price(plan, event.from_boundary, plan.rungs[rung].boundary)
                needed = (
                    state.price + costing.committed(state) + cost + costing.finish_price(plan, rung)
                )
                assert needed <= plan.price_limit + 2 * costing.SLACK, "the rest cannot pay it"
        if isinstance(event, ev.SearchClosed):
            assert state.closed is None, "closed twice"
            may_go_on = set(state.open)
        if isinstance(event, ev.Decision) and event.verdict in ("promote", "continue"):
            assert state.closed is None, "nobody goes on from a rung once the search is closed"
        evolve(state, seq, at, event)
    assert state.is_over and not state.open
    passes = passes_of(engine.log.rows)
    for trial in state.trials:
        assert trial.is_over and trial.move.reason
        numbers = [stats.number for stats in passes.get(trial.number, [])]
        assert (trial.passes, trial.last_pass) == (len(numbers), max(numbers, default=-1))
        assert numbers == sorted(set(numbers)), "a pass counted twice"
    rows = sum(stats.rows for trial in passes.values() for stats in trial)
    assert rows == state.cost.train_rows
    winner = {state.result.checkpoint} if state.result is not None else set()
    assert engine.store == winner
    assert divergences(plan, engine.log.rows) == []


# ---- invariants ------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> SearchPlan:
    scheduler = draw(st.sampled_from(ALL))
    trials = draw(st.integers(1, 12))
    n_rungs = draw(st.integers(1, 4))
    shares = sorted(draw(st.sets(st.integers(1, 60), min_size=n_rungs, max_size=n_rungs)))
    keep, most = [], trials
    for _ in shares:
        most = draw(st.integers(1, most))
        keep.append(most)
    plan = make_plan(
        scheduler=scheduler,
        trials=trials,
        shares=tuple(share / 100 for share in shares),
        keep=tuple(keep),
        slices=draw(st.sampled_from([1, 4])),
        finalists=draw(st.integers(1, min(3, keep[-1]))),
        resume=draw(st.booleans()),
        reduction_factor=draw(st.sampled_from([2.0, 3.0])),
        seed=draw(st.integers(0, 9)),
        search=draw(st.sampled_from(["random", "qmc"])),
        rank_by=draw(st.sampled_from([("metric", "loss"), ("metric",), ("loss",)])),
        trial_retries=draw(st.integers(0, 2)),
        max_failed_trials=99,
    )
    first = plan.rungs[0].boundary
    floor = costing.search_price(plan, 0, first) + costing.finish_price(plan, 0)
    limit = floor + draw(st.floats(0, 4))
    values: dict[str, Any] = {**vars(plan), "price_limit": limit}
    return SearchPlan(**values)


@settings(max_examples=60)
@given(plan=plans(), slots=st.integers(1, 4))
def test_the_price_never_exceeds_its_limit(plan, slots):
    state = run_audited(plan, slots=slots).state
    assert state.state == "SUCCEEDED", state.move.reason
    assert state.price <= plan.price_limit + 2 * costing.SLACK


# A segment is lost after the search was closed, and the rest cannot pay its retry.
NO_RETRY_IS_PAID = make_plan(
    scheduler="asha", trials=5, shares=(0.1, 0.19, 0.2), reduction_factor=2.0, seed=3,
    price_limit=1.545, trial_retries=1, max_failed_trials=99,
)  # fmt: skip


@settings(max_examples=50)
@given(plan=plans(), slots=st.integers(1, 4), rate=st.floats(0, 0.6), salt=st.integers(0, 99))
@example(plan=NO_RETRY_IS_PAID, slots=4, rate=0.5, salt=75)
def test_whatever_is_lost_on_the_way_the_invariants_hold(plan, slots, rate, salt):
    rng = np.random.default_rng(salt)

    def mishap(order: SegmentOrder, boundary: int) -> SegmentFailed | None:
        if rng.random() > rate:
            return None
        if rng.random() < 0.2:
            return SegmentFailed(order.trial, order.segment, "error", "ValueError: no", False)
        return SegmentFailed(order.trial, order.segment, "worker lost", "it died", True)

    engine = run_audited(plan, slots=slots, mishap=mishap)
    assert engine.state.price <= plan.price_limit + 2 * costing.SLACK
    in_a_row: Counter[int] = Counter()
    for _, _, kind, text in engine.log.rows:
        event = ev.decode(kind, text)
        if isinstance(event, ev.Passes):
            in_a_row[event.trial] = 0
        elif isinstance(event, ev.SegmentLost):
            in_a_row[event.trial] += 1
            assert in_a_row[event.trial] <= plan.trial_retries + 1


# ---- oracles ---------------------------------------------------------------------------------


class Table:
    """Stored curves: (trial, rung) → (accuracy, loss)."""

    def __init__(self, plan: SearchPlan, accuracy: np.ndarray, loss: np.ndarray) -> None:
        self._rung_of = {rung.share: i for i, rung in enumerate(plan.rungs)}
        self.accuracy, self._loss = accuracy, loss

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        if order.phase == "search":
            at = order.trial, self._rung_of[share]
            return {"val_accuracy": self.accuracy[at], "val_loss": self._loss[at]}
        last = float(self.accuracy[order.trial, -1])
        return {"val_accuracy": last, "val_loss": 1.0, "test_accuracy": last}

    def loss(self, order: SegmentOrder, share: float) -> float:
        return 1.0

    def seconds(self, order: SegmentOrder) -> float:
        return 100.0


def sha(accuracy: np.ndarray, loss: np.ndarray, keep: Sequence[int]) -> list[list[int]]:
    """Synchronous successive halving from its definition: who is kept at each rung, best first."""
    alive, kept = list(range(len(accuracy))), []
    for rung, k in enumerate(keep):
        a = {t: accuracy[t, rung] for t in alive}
        b = {t: loss[t, rung] for t in alive}

        def place(t: int, a: dict[int, float] = a, b: dict[int, float] = b) -> Any:
            rank_a = sum(other > a[t] for other in a.values())
            rank_b = sum(other < b[t] for other in b.values())
            return min(rank_a, rank_b), -a[t], t

        alive = sorted(alive, key=place)[:k]
        kept.append(list(alive))
    return kept


@settings(max_examples=30)
@given(data=st.data(), slots=st.integers(1, 4), levels=st.sampled_from([2, 5, 1000]))
def test_the_kept_are_those_of_a_brute_force_successive_halving(data, slots, levels):
    """V-A4, with ties where there are few levels."""
    trials = data.draw(st.integers(4, 14))
    keep = tuple(sorted(data.draw(st.tuples(*[st.integers(1, trials)] * 3)), reverse=True))
    plan = make_plan(trials=trials, keep=keep, finalists=keep[-1])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    accuracy = rng.integers(1, levels + 1, (trials, 3)) / levels
    loss = rng.integers(1, levels + 1, (trials, 3)) / levels
    state = run_audited(plan, Table(plan, accuracy, loss), slots).state
    expected = sha(accuracy, loss, keep)
    for rung, kept in enumerate(expected[:-1]):
        assert state.promoted[rung] == set(kept)
    assert state.confirm is not None and list(state.confirm.trials) == expected[-1]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("every", [0.05, 0.5])
def test_a_value_at_a_rung_was_taken_at_that_rung_and_nowhere_else(name, every):
    """V-A7: reports between rungs (checkpoints), and past them, fill no rung."""
    plan = make_plan(scheduler=name, trials=9, shares=(0.03, 0.11, 0.31), checkpoint_every=every)
    engine = run_audited(plan, slots=2)
    state = JobState(plan)
    for seq, at, kind, text in engine.log.rows:
        event = ev.decode(kind, text)
        before = {t.number: dict(t.values) for t in state.trials}
        evolve(state, seq, at, event)
        for trial in state.trials:
            for rung in set(trial.values) - set(before.get(trial.number, ())):
                assert isinstance(event, ev.Passes) and event.trial == trial.number
                assert event.boundary == plan.rungs[rung].boundary
                rows = sum(stats.rows for stats in passes_of(engine.log.rows[:seq])[trial.number])
                assert rows == plan.rungs[rung].rows


@pytest.mark.parametrize("name", ALL)
def test_a_coarse_reporter_that_steps_over_a_rung_fills_none(name):
    plan = make_plan(scheduler=name, trials=3, shares=(0.02, 0.1), keep=(2, 1))
    clock = HandClock()
    engine = Audited(plan, clock)
    engine.handle(DriverStart(OURS, "sha", 1, "simulated"), SubsetBuilt(None, False, 0.0))
    (order,) = engine.take_orders(1)
    simulator = Simulator(PlantedCurves(), clock)
    simulator._start(order)
    report = simulator._report(simulator._due[0])
    over = {**vars(report), "boundary": report.boundary + 1, "done": False}
    engine.report(Reported(type(report)(**over)))
    assert engine.state.trials[0].values == {}
    assert len(engine.state.rungs[0]) == 0


@pytest.mark.parametrize("name", ALL)
def test_more_slots_finish_no_later(name):
    def took(slots: int) -> float:
        return run_audited(make_plan(scheduler=name, trials=9), slots=slots).log.rows[-1][1]

    one, three = took(1), took(3)
    assert three <= one
