"""Weighted and stratified draws against exact enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from automata_svc.selection.sampling import (
    effective_sample_size,
    gumbel_top_k,
    log_softmax,
    log_taylor_softmax,
    stratified_order,
    temperature_for_ess,
)
from automata_svc.selection.types import keyed_rng


def draw_probabilities(p: np.ndarray, k: int) -> dict[tuple[int, ...], float]:
    """Exact probability of each ordered draw of k without replacement, renormalised at each."""
    exact = {}
    for ordered in itertools.permutations(range(len(p)), k):
        probability, left = 1.0, 1.0
        for j in ordered:
            probability *= p[j] / left
            left -= p[j]
        exact[ordered] = probability
    return exact


def test_gumbel_top_k_has_the_law_of_drawing_one_by_one() -> None:
    p = np.array([0.3, 0.05, 0.2, 0.25, 0.12, 0.08])
    exact = draw_probabilities(p, 2)
    rng = np.random.default_rng(0)
    seen = dict.fromkeys(exact, 0)
    trials = 8_000
    for _ in range(trials):
        seen[tuple(gumbel_top_k(np.log(p), 2, rng).tolist())] += 1
    expected = [trials * exact[ordered] for ordered in exact]
    assert chisquare(list(seen.values()), expected).pvalue > 0.01
    for j in range(6):  # inclusion, whatever the order
        often = sum(count for ordered, count in seen.items() if j in ordered) / trials
        assert often == pytest.approx(sum(q for o, q in exact.items() if j in o), abs=0.02)


@pytest.mark.parametrize("size", [0, 1, 5, 6])
def test_gumbel_top_k_takes_any_size_without_repeats(size: int) -> None:
    drawn = gumbel_top_k(np.zeros(6), size, np.random.default_rng(1))
    assert len(drawn) == len(set(drawn.tolist())) == size


def test_every_part_of_a_key_counts_for_itself() -> None:
    keys = [("ab", "c"), ("a", "bc"), ("abc",), (1,), (1 + 2**32,), (0, 1), (-1,)]
    assert len({keyed_rng(*key).random() for key in keys}) == len(keys)


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    log_p = np.log(np.arange(1.0, 21.0))
    short, long = (gumbel_top_k(log_p, k, np.random.default_rng(2)).tolist() for k in (5, 12))
    assert long[:5] == short
    many = np.zeros(1_000)
    short, long = (gumbel_top_k(many, k, np.random.default_rng(2)).tolist() for k in (50, 400))
    assert long[:50] == short


@pytest.mark.parametrize("softmax", [log_softmax, log_taylor_softmax])
def test_probabilities_sum_to_one_and_rise_with_the_score(softmax) -> None:  # type: ignore[no-untyped-def]
    scores = np.sort(np.random.default_rng(3).random(50))
    p = np.exp(softmax(scores))
    assert p.sum() == pytest.approx(1.0)
    assert np.all(p > 0.0) and np.all(np.diff(p) >= 0.0)


def test_taylor_odds_are_at_most_two_and_a_half_for_scores_up_to_one() -> None:
    p = np.exp(log_taylor_softmax(np.array([0.0, 0.5, 1.0])))
    assert p[2] / p[0] == pytest.approx(2.5)


def test_the_effective_sample_size_rises_with_temperature_up_to_uniform() -> None:
    scores = np.random.default_rng(4).random(300)
    sizes = [effective_sample_size(scores / t) for t in np.geomspace(1e-3, 1e3, 40)]
    assert np.all(np.diff(sizes) >= 0.0)
    assert sizes[-1] == pytest.approx(1.0, abs=1e-4)
    assert effective_sample_size(np.zeros(7)) == pytest.approx(1.0)


@pytest.mark.parametrize("target", [0.05, 0.5, 0.9, 0.99])
def test_the_temperature_hits_its_target(target: float) -> None:
    for seed in range(5):
        scores = np.random.default_rng(seed).beta(0.5, 2.0, size=400)
        scores = (scores - scores.min()) / np.ptp(scores)
        temperature = temperature_for_ess(scores, target)
        assert effective_sample_size(scores / temperature) == pytest.approx(target, abs=0.01)


def test_a_target_of_one_and_equal_scores_mean_uniform() -> None:
    assert temperature_for_ess(np.array([0.0, 1.0]), 1.0) == float("inf")
    assert temperature_for_ess(np.ones(3), 0.2) == float("inf")


@pytest.mark.parametrize("shares", [[1], [1, 1, 1], [60, 25, 10, 4, 1], [50] + [1] * 50])
def test_each_prefix_of_a_stratified_order_has_the_classes_of_the_whole(shares: list[int]) -> None:
    labels = np.repeat(np.arange(len(shares)), np.array(shares) * 20)
    np.random.default_rng(0).shuffle(labels)
    share = np.bincount(labels) / len(labels)
    for seed in range(3):
        order = stratified_order(labels, np.random.default_rng(seed))
        assert sorted(order.tolist()) == list(range(len(labels)))
        counts = np.cumsum(labels[order][:, None] == np.arange(len(shares)), axis=0)
        expected = np.arange(1, len(labels) + 1)[:, None] * share
        # a row of its own, and its part of what the other classes together are off
        bound = 1.0 + share * np.sqrt(len(shares)) * 1.5
        assert np.all(np.abs(counts - expected).max(axis=0) <= bound)


def test_a_class_number_without_rows_is_no_trouble() -> None:
    assert sorted(stratified_order(np.array([3, 0, 3]), np.random.default_rng(0)).tolist()) == [
        0,
        1,
        2,
    ]
