"""Farthest-first order against its definition and exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from automata_svc.selection import disparity
from automata_svc.selection.disparity import farthest_first
from automata_svc.selection.graph_cut import inverse_norms


def order_of(z: np.ndarray, picks: int) -> tuple[np.ndarray, np.ndarray]:
    return farthest_first(z, inverse_norms(z), np.arange(len(z)), picks, np.random.default_rng(0))


def cosine_distances(z: np.ndarray) -> np.ndarray:
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    return 1.0 - unit @ unit.T


def spread(distance: np.ndarray, chosen: tuple[int, ...]) -> float:
    return min(float(distance[i, j]) for i, j in itertools.combinations(chosen, 2))


def test_each_row_comes_with_its_distance_to_those_before_it() -> None:
    z = np.random.default_rng(0).normal(size=(40, 5))
    order, distances = order_of(z, 40)
    true = cosine_distances(z)
    assert sorted(order.tolist()) == list(range(40))
    assert np.all(np.diff(distances) <= 1e-12)
    for t in range(1, 40):
        before = true[order[:t]]
        assert distances[t] == pytest.approx(before[:, order[t]].min(), abs=1e-9)
        assert distances[t] == pytest.approx(before.min(axis=0)[order[t:]].max(), abs=1e-9)


def test_the_row_least_like_the_sum_of_all_comes_first() -> None:
    for seed in range(5):
        z = np.random.default_rng(seed).normal(size=(30, 4)) + 1.0
        unit = z / np.linalg.norm(z, axis=1, keepdims=True)
        assert order_of(z, 30)[0][0] == int(np.argmin(unit @ unit.sum(axis=0)))


@pytest.mark.parametrize("k", [3, 4])
def test_the_spread_is_within_the_known_factors_of_the_best(k: int) -> None:
    for seed in range(20):
        z = np.random.default_rng(seed).normal(size=(9, 3))
        chosen = tuple(order_of(z, 9)[0][:k].tolist())
        cosine = cosine_distances(z)
        chord = np.sqrt(np.maximum(2.0 * cosine, 0.0))  # Euclidean, between unit vectors
        for distance, factor in ((chord, 0.5), (cosine, 0.25)):
            best = max(spread(distance, a) for a in itertools.combinations(range(9), k))
            assert spread(distance, chosen) >= factor * best


def test_stopping_early_keeps_the_order_so_far_and_the_rest_by_distance() -> None:
    z = np.random.default_rng(1).normal(size=(60, 6))
    full, _ = order_of(z, 60)
    early, distances = order_of(z, 20)
    assert early[:20].tolist() == full[:20].tolist()
    assert sorted(early.tolist()) == list(range(60))
    assert np.all(np.diff(distances) <= 1e-12)
    assert distances[20:] == pytest.approx(
        cosine_distances(z)[np.ix_(early[:20], early[20:])].min(axis=0), abs=1e-9
    )


def test_big_classes_are_ordered_in_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disparity, "MAX_FOLD", 30)
    z = np.random.default_rng(2).normal(size=(100, 6))
    order, distances = order_of(z, 20)
    assert sorted(order.tolist()) == list(range(100))
    assert np.all(np.diff(distances) <= 1e-12)
    assert order_of(z, 20)[0].tolist() == order.tolist()
    other = farthest_first(z, inverse_norms(z), np.arange(100), 20, np.random.default_rng(1))
    assert (
        other[0].tolist() != order.tolist()
    )  # rows of a class may lie in any order: cut at random
    assert np.isfinite(order_of(z, 2)[1]).all()  # fewer picks than folds: one in each


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_classes_have_an_order(n: int) -> None:
    order, distances = order_of(np.eye(3)[:n], 5)
    assert sorted(order.tolist()) == list(range(n))
    assert distances.tolist() == pytest.approx([1.0, 1.0] if n == 2 else [0.0] * n)


def test_equal_rows_have_distance_zero() -> None:
    z = np.ones((5, 3))
    assert order_of(z, 5)[1] == pytest.approx(np.zeros(5), abs=1e-12)
