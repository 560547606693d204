"""AUTOMATA's mini-batch gradient matching."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automata_svc.errors import SpecError
from automata_svc.selection import STRATEGIES, Draw, FactoredGradients, Rows, SelectionError, Subset
from automata_svc.selection.omp import DenseGram, nonnegative_omp

AUTOMATA = STRATEGIES["automata"]


class Head:
    """A fixed linear head on random features: the gradients of any rows, and which were asked."""

    def __init__(self, n: int, n_classes: int = 4, width: int = 6, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, n_classes, n)
        self.inputs = rng.normal(size=(n, width)).astype(np.float32)
        logits = self.inputs @ rng.normal(size=(width, n_classes))
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        p[np.arange(n), self.labels] -= 1.0
        self.errors = p.astype(np.float32)
        self.asked: list[np.ndarray] = []

    @property
    def rows(self) -> Rows:
        return Rows(labels=self.labels, n_classes=4)

    def __call__(self, rows: np.ndarray) -> FactoredGradients:
        self.asked.append(rows)
        return FactoredGradients(self.errors[rows], self.inputs[rows])

    def multiplied_out(self, rows: np.ndarray) -> np.ndarray:
        inputs = np.hstack([self.inputs[rows], np.ones((len(rows), 1))])
        return (self.errors[rows][:, :, None] * inputs[:, None, :]).reshape(len(rows), -1)


def select(head: Head, size: int, batch_size: int = 8, index: int = 0, **options: Any) -> Subset:
    draw = Draw(size, index, 10, (0, 0), batch_size=batch_size)
    return AUTOMATA.select(head.rows, {}, draw, options, head)


def test_its_weighted_gradient_is_closer_to_the_pool_than_that_of_random_batches() -> None:
    ours, random = [], []
    for index in range(10):
        head = Head(2_000, seed=index)
        subset = select(head, 64, index=index)
        pool = head.multiplied_out(head.asked[-1]).mean(axis=0)
        weighted = subset.weights @ head.multiplied_out(subset.indices) / 64
        ours.append(np.linalg.norm(weighted - pool))
        assert subset.facts["residual"] == pytest.approx(ours[-1] / np.linalg.norm(pool), rel=1e-4)
        random.append(np.linalg.norm(head.multiplied_out(head.asked[-1][:64]).mean(axis=0) - pool))
    assert np.mean(ours) < 0.8 * np.mean(random)


def test_the_pool_is_a_multiple_of_the_subset_and_is_what_is_paid_for() -> None:
    head = Head(1_000)
    subset = select(head, 64, pool=3)
    assert subset.forward_rows == len(head.asked[0]) == 192
    assert set(subset.indices.tolist()) <= set(head.asked[0].tolist())
    assert len(set(head.asked[0].tolist())) == 192
    assert select(head, 64, pool=100).forward_rows == 1_000


def test_each_selection_and_each_trial_draws_a_pool_of_its_own() -> None:
    head = Head(1_000)
    select(head, 40, index=0)
    select(head, 40, index=1)
    AUTOMATA.select(head.rows, {}, Draw(40, 0, 10, (0, 1), batch_size=8), {}, head)
    assert len({tuple(sorted(pool.tolist())) for pool in head.asked}) == 3


def test_the_pool_has_nearly_the_classes_of_the_whole() -> None:
    head = Head(1_000)
    select(head, 40)
    counts = np.bincount(head.labels[head.asked[0]], minlength=4)
    assert np.abs(counts - 200 * np.bincount(head.labels) / 1_000).max() <= 3


def test_rows_of_a_batch_share_its_weight() -> None:
    subset = select(Head(1_000), 64)
    assert subset.facts == {
        "residual": pytest.approx(subset.facts["residual"]),
        "atoms": 8.0,
        "filled": 0.0,
    }
    by_batch = subset.weights.reshape(8, 8)
    assert np.all(by_batch == by_batch[:, :1])
    assert len(np.unique(by_batch)) == 8


def test_rows_beyond_the_subset_go_from_the_lightest_batch() -> None:
    head = Head(1_000)
    subset = select(head, 37)  # five batches of 8 hold three more
    assert (subset.facts["atoms"], subset.facts["filled"]) == (5.0, 0.0)
    weights, counts = np.unique(subset.weights, return_counts=True)
    assert counts.tolist() == [5, 8, 8, 8, 8]
    assert len(head.asked[0]) == 192  # the pool is whole batches: 5 · 37 rounded up


def test_batches_are_cut_at_random_from_a_stratified_pool() -> None:
    head = Head(1_000)
    head.labels = np.arange(1_000) % 4
    select(head, 64)
    batches = head.labels[head.asked[0]].reshape(-1, 8)
    most = max(np.bincount(batch, minlength=4).max() for batch in batches)
    assert most >= 5  # of 8; where each were stratified it would be 2 or 3


def test_where_the_pool_ends_no_batch_is_short() -> None:
    subset = select(Head(19), 8)  # two batches, of 9 and 10 rows
    assert (subset.facts["atoms"], subset.facts["filled"]) == (1.0, 0.0)


def test_batches_of_unequal_size_count_by_their_rows() -> None:
    head = Head(43)
    subset = select(head, 43, batch_size=4, ridge=0.0)  # ten batches, three of them of 5 rows
    assert subset.facts["residual"] <= 1e-3
    assert subset.weights == pytest.approx(np.ones(43), abs=1e-2)


def test_with_batches_of_one_row_it_is_matching_row_by_row() -> None:
    head = Head(60)
    subset = select(head, 12, batch_size=1, ridge=0.3)
    atoms = head.multiplied_out(head.asked[0])
    unit = float((atoms**2).sum(axis=1).mean())
    pinned = np.hstack([atoms, np.full((60, 1), np.sqrt(10.0 * unit))])
    mean = pinned.mean(axis=0)
    match = nonnegative_omp(
        DenseGram(pinned @ pinned.T),
        pinned @ mean,
        12,
        ridge=0.3 * unit,
        target_sq=float(mean @ mean),
    )
    chosen = head.asked[0][match.indices].tolist()
    expected = dict(zip(chosen, match.weights / match.weights.mean(), strict=True))
    got = dict(zip(subset.indices.tolist(), subset.weights.tolist(), strict=True))
    assert got == pytest.approx(expected, rel=1e-4)


def test_without_the_pin_the_matched_gradient_is_longer_than_its_target() -> None:
    """Why the pin is there: weights are rescaled to mean 1, and the published sum is below it."""
    ratios = {}
    for pin in (0.0, 10.0):
        lengths = []
        for seed in range(10):
            head = Head(2_000, seed=seed)
            subset = select(head, 64, pin=pin)
            pool = head.multiplied_out(head.asked[-1]).mean(axis=0)
            weighted = subset.weights @ head.multiplied_out(subset.indices) / 64
            lengths.append(weighted @ pool / (pool @ pool))
        ratios[pin] = np.mean(lengths)
    assert abs(ratios[10.0] - 1.0) < 0.15 < ratios[0.0] - 1.0


def test_all_rows_without_ridge_match_exactly() -> None:
    head = Head(40)
    assert select(head, 40, batch_size=4, ridge=0.0).facts["residual"] <= 1e-3


@pytest.mark.parametrize(
    ("n", "size", "batch_size"),
    [(100, 37, 8), (100, 100, 8), (15, 9, 8), (5, 3, 8), (5, 5, 64), (100, 1, 1), (1, 1, 1)],
)
def test_sizes_that_do_not_divide_give_exactly_that_many_rows(
    n: int, size: int, batch_size: int
) -> None:
    subset = select(Head(n), size, batch_size)
    assert len(set(subset.indices.tolist())) == size
    assert subset.weights.mean() == pytest.approx(1.0, abs=1e-5)
    assert subset.weights.min() >= 0.0


def test_where_no_batch_helps_random_rows_of_the_pool_fill_up_at_equal_weight() -> None:
    head = Head(300)
    head.errors[:] = 0.0  # a model that is right and sure everywhere
    subset = select(head, 40)
    assert subset.facts == {"residual": 0.0, "atoms": 0.0, "filled": 40.0}
    assert np.all(subset.weights == 1.0)
    assert subset.indices.tolist() == head.asked[0][:40].tolist()


def test_where_the_matching_ends_early_the_rest_is_filled_at_the_mean_weight() -> None:
    head = Head(64)
    head.inputs[:] = 0.0  # one direction only: the first batch explains all of it
    head.errors[:] = np.float32([1.0, -1.0, 0.0, 0.0])
    subset = select(head, 16, batch_size=4, ridge=0.0)
    assert subset.facts["atoms"] == 1.0 and subset.facts["filled"] == 12.0
    assert len(set(subset.indices.tolist())) == 16
    assert subset.weights == pytest.approx(np.ones(16))


def test_without_gradients_or_with_bad_ones_it_says_so() -> None:
    head = Head(100)
    with pytest.raises(SelectionError, match="needs last-layer gradients"):
        AUTOMATA.select(head.rows, {}, Draw(10, 0, 1, (0, 0)), {})
    head.inputs[:, 2] = np.nan
    with pytest.raises(SelectionError, match=r"input of the head of row \d+ is not finite"):
        select(head, 10)
    with pytest.raises(SpecError, match="pool: 0 is not usable; an integer from 1"):
        select(head, 10, pool=0)
