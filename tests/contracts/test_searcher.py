"""Every row of SEARCHERS against the duties in its protocol."""

from __future__ import annotations

import random

import numpy as np
import pytest

from automata_svc.spec.space import compile_space
from automata_svc.tuning import events as ev
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.ranking import Value
from automata_svc.tuning.runners.simulated import HandClock
from automata_svc.tuning.searchers import SEARCHERS
from automata_svc.tuning.state import JobState
from tests.tuning.build import PlantedCurves, make_plan, run_simulated, start

ALL = sorted(SEARCHERS)
LR = {"lr": {"loguniform": [1e-4, 1e-1]}}


@pytest.mark.parametrize("name", ALL)
def test_every_proposal_lies_in_the_space_with_exactly_its_active_parameters(name):
    plan = make_plan(search=name, trials=20, scheduler="asha_promote")
    space = compile_space(plan.space)
    state = run_simulated(plan).state
    assert len(state.trials) == 20
    for trial in state.trials:
        assert space.contains(trial.params), trial.params


@pytest.mark.parametrize("name", ALL)
def test_a_searcher_started_anew_proposes_what_the_old_one_would_have(name):
    plan = make_plan(search=name, trials=14, scheduler="asha_promote")
    engine = run_simulated(plan)
    again = JobState(plan)
    checked = 0
    for seq, at, kind, text in engine._log.rows:  # type: ignore[attr-defined]
        event = ev.decode(kind, text)
        if isinstance(event, ev.TrialProposed):
            fresh = SEARCHERS[name].start(plan).propose(again, event.trial)
            assert (dict(fresh.params), fresh.origin) == (event.params, event.origin)
            checked += 1
        evolve(again, seq, at, event)
    assert checked == 14


@pytest.mark.parametrize("name", ALL)
def test_another_seed_proposes_something_else(name):
    first, other = (run_simulated(make_plan(search=name, seed=seed)).state for seed in (1, 2))
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


@pytest.mark.parametrize("name", ALL)
def test_nothing_global_is_drawn_from_or_seeded(name):
    random.seed(5)
    np.random.seed(5)
    before = (random.getstate(), np.random.get_state()[1].tolist())
    run_simulated(make_plan(search=name, trials=12, scheduler="asha_promote"))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("name", ALL)
def test_start_points_come_first_and_what_they_leave_open_is_drawn(name):
    lr = 0.01
    plan = make_plan(search=name, start_points=({"lr": lr, "hidden": 64},))
    state = run_simulated(plan).state
    first = state.trials[0]
    assert first.params["lr"] == lr and first.params["hidden"] == 64
    assert set(first.params) >= {"lr", "hidden"} and first.origin == "start point"
    assert state.trials[-1].origin != "start point"


def test_a_grid_proposes_every_combination_once():
    plan = make_plan(search="grid", trials=45, scheduler="fifo")
    state = run_simulated(plan).state
    found = {tuple(sorted(t.params.items())) for t in state.trials}
    expected = {tuple(sorted(point.items())) for point in compile_space(plan.space).grid()}
    assert found == expected and len(expected) == 45


def test_qmc_is_spread_more_evenly_than_random():
    def gaps(name: str) -> float:
        space = {"lr": {"uniform": [0.0, 1.0]}}
        plan = make_plan(search=name, space=space, trials=32, seed=3)
        searcher = SEARCHERS[name].start(plan)
        points = np.sort([searcher.propose(JobState(plan), i).params["lr"] for i in range(32)])
        return float(np.diff(np.concatenate([[0], points, [1]])).max())

    assert gaps("qmc") < gaps("random")


@pytest.mark.parametrize("scheduler", ["asha_promote", "fifo"])
@pytest.mark.parametrize(("metric", "mode"), [("val_accuracy", "max"), ("val_loss", "min")])
def test_tpe_learns_where_the_planted_optimum_is(metric, mode, scheduler):
    distance = {}
    for name in ("random", "tpe"):
        late = []
        for seed in range(4):
            plan = make_plan(
                search=name, trials=40, scheduler=scheduler, startup_trials=10, seed=seed,
                metric=metric, mode=mode,
            )  # fmt: skip
            state = run_simulated(plan, PlantedCurves(noise=0.002)).state
            late += [abs(np.log10(t.params["lr"]) + 2) for t in state.trials[20:]]
        distance[name] = np.mean(late)
    assert distance["tpe"] < 0.7 * distance["random"]


def climbed(*groups):
    """A job in which each group of 10 trials, near one lr, has reached a rung with a value."""
    state = JobState(make_plan(search="tpe", scheduler="asha_promote", space=LR))
    for lr, rung, metric in groups:
        for i in range(10):
            number = len(state.trials)
            params = {"lr": lr * (0.9 + 0.02 * i)}
            evolve(state, number, 0.0, ev.TrialProposed(number, params, 0, "random", 0.0))
            for reached in range(rung + 1):
                state.rungs[reached].add(Value(number, metric, 1.0))
                state.arrivals.append((number, reached, metric))
    return state


def test_tpe_ranks_by_the_rung_before_the_value():
    state = climbed((1e-3, 0, 0.9), (3e-2, 1, 0.5))
    searcher = SEARCHERS["tpe"].start(state.plan)
    near = [searcher.propose(state, number).params["lr"] > 5e-3 for number in range(20, 50)]
    assert sum(near) > 20


def test_tpe_draws_by_job_and_trial_where_the_history_is_the_same():
    state = climbed((1e-3, 0, 0.4), (1e-2, 0, 0.6))
    plans = state.plan, make_plan(search="tpe", scheduler="asha_promote", space=LR, seed=8)
    drawn = {
        SEARCHERS["tpe"].start(plan).propose(state, number).params["lr"]
        for plan in plans
        for number in (20, 21, 22)
    }
    assert len(drawn) == 6


def test_tpe_counts_a_refused_value_as_the_worst():
    curves = PlantedCurves(noise=0.0)
    curves.spoil = lambda order, share: (
        {"val_accuracy": float("nan")} if order.params["lr"] > 0.03 else None
    )
    plan = make_plan(search="tpe", trials=40, scheduler="asha_promote", startup_trials=8)
    state = run_simulated(plan, curves).state
    early = [t.params["lr"] > 0.03 for t in state.trials[:12]]
    late = [t.params["lr"] > 0.03 for t in state.trials[20:]]
    assert any(early)
    assert sum(late) / len(late) < sum(early) / len(early)


def test_a_proposal_records_the_history_it_was_drawn_from():
    log = MemoryLog()
    plan = make_plan(search="tpe", trials=8, scheduler="asha_promote")
    engine = run_simulated(plan, log=log)
    from automata_svc.tuning import events as ev

    for seq, _, kind, text in log.rows:
        if kind == "trial_proposed":
            event = ev.decode(kind, text)
            assert isinstance(event, ev.TrialProposed) and event.seen == seq - 1
    assert engine.state.state == "SUCCEEDED"


def test_an_engine_reopened_in_the_middle_draws_nothing_twice():
    log, clock = MemoryLog(), HandClock()
    plan = make_plan(trials=3)
    start(plan, log, clock, slots=2)
    again = start(plan, log, clock, slots=2)
    assert [t.number for t in again.state.trials] == [0, 1]
