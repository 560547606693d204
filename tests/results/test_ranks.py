from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from automata_svc.results.ranks import kendall_tau_b, rank_evidence, tau_interval
from tests.results.build import finished

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=40)


@given(PAIRS)
def test_tau_b_is_the_one_of_scipy_with_and_without_ties(pairs: list[tuple[int, int]]) -> None:
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    ours = kendall_tau_b(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(kendalltau(a, b).statistic, abs=1e-12)


@given(st.floats(-1, 1), st.integers(8, 200))
def test_an_interval_holds_its_tau_and_stays_within_bounds(tau: float, n: int) -> None:
    low, high = tau_interval(tau, n)
    assert -1 <= low <= tau <= high <= 1


@given(st.integers(8, 200))
def test_perfect_order_among_few_is_no_proof_of_perfect_order(n: int) -> None:
    low, high = tau_interval(1.0, n)
    assert low < 1 and high == 1
    assert tau_interval(1.0, n + 50)[0] > low
    # As if one of the pairs of trials were half in disorder.
    expected = math.tanh(math.atanh(1 - 2 / (n * (n - 1))) - 1.96 * math.sqrt(0.437 / (n - 4)))
    assert low == pytest.approx(expected, abs=1e-3)
    assert tau_interval(-1.0, n) == (-high, -low)


def test_the_interval_covers_the_true_tau_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    rho = 0.7
    true = 2 / np.pi * np.arcsin(rho)  # of a bivariate normal
    hits = 0
    for _ in range(300):
        x = rng.normal(size=20)
        y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=20)
        tau = kendall_tau_b(x.tolist(), y.tolist())
        assert tau is not None
        low, high = tau_interval(tau, 20)
        hits += low <= true <= high
    assert 0.90 <= hits / 300 <= 0.99


def test_fewer_than_eight_survivors_measure_nothing() -> None:
    first, second = rank_evidence(finished())
    assert first.pairs == 9 and first.tau is not None and first.note == "survivors only"
    assert second.pairs == 4 and second.tau is None and "not measured" in second.note


@pytest.mark.parametrize(("survivors", "measured"), [(7, False), (8, True)])
def test_eight_survivors_are_enough(survivors: int, measured: bool) -> None:
    first, _ = rank_evidence(finished(keep=(survivors, 4, 2)))
    assert (first.pairs, first.tau is not None) == (survivors, measured)


def test_a_job_of_one_rung_has_no_evidence() -> None:
    assert rank_evidence(finished(scheduler="fifo")) == ()
