"""Every row of GUARDS against the duties in its protocol, and each rule at its limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.trials.types import PassStats, Stat
from automata_svc.tuning.guards import GUARDS
from automata_svc.tuning.guards.memory import GuardMemory

ALL = sorted(GUARDS)


def passes(losses: list[float | None], norms: list[float], non_finite: int = 0) -> GuardMemory:
    memory = GuardMemory()
    for number, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        stat = None if loss is None else Stat(loss, loss, loss)
        memory.add(PassStats(number, 10, 1, stat, Stat(norm, norm, norm), non_finite))
    return memory


@pytest.mark.parametrize("name", ALL)
def test_a_healthy_trial_is_left_alone(name):
    for n in range(1, 30):
        losses = [2.3 / (1 + 0.2 * i) for i in range(n)]
        assert (
            GUARDS[name].check(passes(losses, [1.0 + 0.1 * i for i in range(n)]), None, {}) is None
        )


@given(st.floats(0.1, 100), st.floats(0.1, 1e6), st.floats(1, 10), st.floats(1, 10))
def test_worse_signals_never_silence_divergence(loss, norm, more_loss, more_norm):
    rule = GUARDS["divergence"]
    mild = rule.check(passes([2.0, 2.0, loss], [1.0, 1.0, norm]), None, {})
    worse = passes([2.0, 2.0, loss * more_loss], [1.0, 1.0, norm * more_norm])
    assert mild is None or rule.check(worse, None, {}) is not None


def test_divergence_fires_above_its_loss_ratio_and_not_at_it():
    rule = GUARDS["divergence"]
    at, above = (passes([1.0, 1.0, loss], [1.0] * 3) for loss in (3.0, 3.01))
    assert rule.check(at, None, {"loss_ratio": 3.0}) is None
    trip = rule.check(above, None, {"loss_ratio": 3.0})
    assert trip is not None and trip.value == 3.01 and trip.limit == 3.0
    assert rule.check(above, None, {"loss_ratio": 10.0}) is None


def test_divergence_fires_on_a_gradient_spike_against_the_trials_own_past():
    rule = GUARDS["divergence"]
    trip = rule.check(passes([1.0] * 6, [0.1] * 5 + [50.0]), None, {"gradient_spike": 100.0})
    assert trip is not None and "gradient norm" in trip.detail
    # The same norm is usual for a trial that always had it.
    assert rule.check(passes([1.0] * 6, [50.0] * 6), None, {"gradient_spike": 100.0}) is None


def test_divergence_waits_for_a_past_to_compare_with():
    rule = GUARDS["divergence"]
    wild = [1.0, 100.0, 100.0], [1.0, 1e9, 1e9]
    assert rule.check(passes(wild[0][:2], wild[1][:2]), None, {}) is None
    assert rule.check(passes(*wild), None, {}) is not None


def test_a_loss_that_began_below_zero_has_no_ratio():
    assert GUARDS["divergence"].check(passes([-1.0, -1.0, 5.0], [1.0] * 3), None, {}) is None


def test_a_gradient_norm_at_its_limit_is_not_above_it():
    at, above = (passes([1.0] * 4, [1.0, 1.0, 1.0, norm]) for norm in (100.0, 100.1))
    rule = GUARDS["divergence"]
    assert rule.check(at, None, {"gradient_spike": 100.0}) is None
    assert rule.check(above, None, {"gradient_spike": 100.0}) is not None


def test_one_odd_step_of_a_pass_ends_no_trial():
    memory = passes([1.0] * 5, [1.0] * 5)
    odd = Stat(1e12, 1.0, 1e12)  # the last and the largest, not the median
    memory.add(PassStats(5, 10, 9, odd, odd, 0))
    assert GUARDS["divergence"].check(memory, None, {}) is None


def test_what_is_usual_for_a_gradient_is_its_recent_past():
    norms = [1.0] * 40 + [500.0] * 16 + [5000.0]
    assert GUARDS["divergence"].check(passes([1.0] * 57, norms), None, {}) is None
    # What is judged is no part of it: the median of 1 and 199 is 100.
    trip = GUARDS["divergence"].check(passes([1.0] * 3, [1.0, 199.0, 150_000.0]), None, {})
    assert trip is not None and trip.limit == 100_000.0


def test_non_finite_counts_the_steps_of_the_latest_pass():
    memory = passes([1.0, 1.0], [1.0, 1.0], non_finite=2)
    trip = GUARDS["non_finite"].check(memory, None, {})
    assert trip is not None and "2 step" in trip.detail and "pass 2" in trip.detail


def test_non_finite_fires_on_the_workers_trip_and_on_counted_steps():
    rule = GUARDS["non_finite"]
    assert rule.check(passes([None], [1.0]), "non_finite", {}) is not None
    trip = rule.check(passes([1.0], [1.0], non_finite=3), None, {})
    assert trip is not None and "3 step" in trip.detail


@pytest.mark.parametrize("name", ALL)
def test_other_trials_change_nothing(name):
    memory = passes([1.0, 1.0, 9.0], [1.0] * 3, non_finite=1)
    alone = GUARDS[name].check(memory, None, {})
    passes([100.0] * 3, [1e9] * 3)
    assert GUARDS[name].check(memory, None, {}) == alone
