"""Every row of SCHEDULERS against the duties in its protocol."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from automata_svc.trials.types import SegmentOrder
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.schedulers.base import NEIGHBOURS
from tests.tuning.build import PlantedCurves, make_plan, run_simulated

ALL = sorted(SCHEDULERS)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_a_job_ends_with_a_winner_and_every_trial_with_a_reason(name, slots):
    state = run_simulated(make_plan(scheduler=name), slots=slots).state
    assert state.state == "SUCCEEDED"
    assert state.result is not None and state.trials[state.result.trial].state == "COMPLETED"
    assert len(state.trials) == state.plan.trials
    assert all(trial.is_over and trial.move.reason for trial in state.trials)


@pytest.mark.parametrize("name", ALL)
def test_a_trial_gets_one_verdict_besides_wait_at_each_rung_it_reaches(name):
    state = run_simulated(make_plan(scheduler=name, trials=12), slots=2).state
    waits = {"asha_promote"}  # may be left waiting when the search ends
    for trial in state.trials:
        verdicts = Counter(d.rung for d in trial.decisions if d.verdict != "wait")
        assert all(count == 1 for count in verdicts.values())
        reached = set(trial.values)
        assert set(verdicts) <= reached
        if name not in waits:
            assert set(verdicts) == reached


@pytest.mark.parametrize("name", ALL)
def test_decisions_name_ranks_that_were_true_when_they_were_made(name):
    state = run_simulated(make_plan(scheduler=name, trials=15, keep=(5, 2, 1))).state
    for trial in state.trials:
        for decided in trial.decisions:
            assert len(decided.neighbours) <= NEIGHBOURS
            assert trial.number not in {n.trial for n in decided.neighbours}
            if decided.cutoff is not None and decided.rank is not None:
                ranks = [n.rank for n in decided.neighbours]
                assert len(set(ranks)) == len(ranks) and decided.rank not in ranks
                goes_on = decided.verdict in ("continue", "promote")
                assert goes_on == (decided.rank <= decided.cutoff)


@pytest.mark.parametrize("spoiled", [math.nan, math.inf, -math.inf, None, "high", "missing"])
@pytest.mark.parametrize("name", ALL)
def test_a_value_that_is_no_number_never_goes_on(name, spoiled):
    curves = PlantedCurves()

    def spoil(order: SegmentOrder, share: float) -> Mapping[str, Any] | None:
        if order.trial != 2 or order.phase != "search":
            return None
        return {"val_loss": 0.0} | ({} if spoiled == "missing" else {"val_accuracy": spoiled})

    curves.spoil = spoil
    state = run_simulated(make_plan(scheduler=name), curves, slots=2).state
    trial = state.trials[2]
    assert trial.state == "PRUNED" and trial.rung == 1
    assert "val_accuracy" in trial.move.reason
    assert state.state == "SUCCEEDED" and state.result is not None and state.result.trial != 2


@pytest.mark.parametrize("name", ALL)
def test_when_every_value_is_refused_the_job_fails_and_says_so(name):
    curves = PlantedCurves()
    curves.spoil = lambda order, share: {"val_accuracy": math.nan}
    state = run_simulated(make_plan(scheduler=name, trials=4), curves).state
    assert state.state == "FAILED"
    assert "no trial has a usable value" in state.move.reason


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_decides_the_same(name):
    runs = [run_simulated(make_plan(scheduler=name), slots=2).state for _ in range(2)]
    assert [t.decisions for t in runs[0].trials] == [t.decisions for t in runs[1].trials]


@pytest.mark.parametrize("name", ALL)
def test_mode_min_keeps_the_mirror_image_of_mode_max(name):
    class Mirrored(PlantedCurves):
        def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
            found = dict(super().values(order, share))
            return {**found, "val_accuracy": -found["val_accuracy"]}

    plain = run_simulated(make_plan(scheduler=name)).state
    mirrored = run_simulated(make_plan(scheduler=name, mode="min"), Mirrored()).state
    assert [t.state for t in plain.trials] == [t.state for t in mirrored.trials]
    assert plain.result is not None and mirrored.result is not None
    assert plain.result.trial == mirrored.result.trial
