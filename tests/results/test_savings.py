from __future__ import annotations

import pytest

from automata_svc.results.savings import savings
from automata_svc.trials.types import Cost
from automata_svc.tuning.state import JobState
from tests.results.build import finished
from tests.tuning.build import make_plan


def test_no_early_stopping_is_every_trial_in_full_with_the_same_finish() -> None:
    state = finished()
    without, _ = savings(state)
    values = len(state.plan.confirm_values(state.plan.confirm_table(0)))
    assert without.train_rows == 27 * state.plan.total_rows
    assert without.forward_rows == 27 * values * 300 + 600
    assert without.price == pytest.approx(27 + (27 * values * 300 + 600) / 3 / 20_000)
    assert without.times == pytest.approx(without.price / state.price)


def test_whole_epoch_rungs_train_the_same_arrivals_to_the_next_epoch() -> None:
    state = finished()  # 20 epochs; shares .01 .04 .16 → epochs 1, 1 and 4; 27, 9, 4 arrive; 2 end
    _, epochs = savings(state)
    trained = 27 * 1 + 9 * 0 + 4 * 3 + 2 * 16
    assert epochs.train_rows == trained * 1000
    assert epochs.forward_rows == trained * 300 + 600
    assert epochs.price > state.price


def test_a_fifo_job_on_whole_epochs_saves_nothing_against_no_early_stopping() -> None:
    state = finished(scheduler="fifo", shares=(1.0,), subset_rows=1000, confirm=False)
    without, epochs = savings(state)
    assert without.train_rows == state.cost.train_rows == epochs.train_rows
    assert without.times == pytest.approx(1.0)


def test_seconds_are_estimated_only_from_seconds_that_were_measured() -> None:
    assert all(other.seconds is None for other in savings(finished()))


def test_seconds_go_by_the_speed_of_training_and_of_evaluation() -> None:
    state = finished()
    state.cost = Cost(train_rows=1000, forward_rows=500, train_seconds=10.0, eval_seconds=2.0)
    for other in savings(state):
        assert other.seconds == pytest.approx(0.01 * other.train_rows + 0.004 * other.forward_rows)


def test_trials_that_were_never_proposed_were_not_saved() -> None:
    state = finished(goal=0.3)
    assert len(state.trials) < 27
    assert savings(state)[0].train_rows == len(state.trials) * state.plan.total_rows


def test_a_job_that_cost_nothing_has_no_ratio() -> None:
    assert all(other.times is None for other in savings(JobState(make_plan())))
