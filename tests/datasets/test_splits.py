"""Rows held out: how many of each class, and always the same ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.datasets.splits import hold_out, quotas, split_rows

COUNTS = st.lists(st.integers(2, 400), min_size=2, max_size=30)


@given(COUNTS, st.floats(0.0, 1.0))
def test_quotas_sum_to_the_size_and_leave_each_class_on_both_sides(
    counts: list[int], share: float
) -> None:
    n = np.array(counts)
    size = round(len(n) + share * (n.sum() - 2 * len(n)))
    k = quotas(n, size)
    assert k.sum() == size
    assert (k >= 1).all() and (k <= n - 1).all()


@given(st.lists(st.integers(50, 400), min_size=2, max_size=30))
def test_quotas_are_proportional_within_one_row(counts: list[int]) -> None:
    n = np.array(counts)
    size = round(0.2 * n.sum())
    assert np.abs(quotas(n, size) - n * size / n.sum()).max() < 1


def test_quotas_are_the_exact_shares_where_these_are_whole() -> None:
    assert quotas(np.array([100, 50, 10]), 32).tolist() == [20, 10, 2]


@given(COUNTS)
def test_holding_out_is_a_partition_and_repeats_itself(counts: list[int]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    size = max(len(counts), round(0.2 * len(labels)))
    stay, out = hold_out(labels, size)
    assert sorted([*stay, *out]) == list(range(len(labels)))
    assert len(out) == size
    again = hold_out(labels, size)
    assert np.array_equal(again[0], stay) and np.array_equal(again[1], out)
    assert set(labels[stay]) == set(labels[out]) == set(range(len(counts)))


def test_another_seed_holds_out_other_rows() -> None:
    labels = np.arange(100) % 2
    assert not np.array_equal(hold_out(labels, 20, 0)[1], hold_out(labels, 20, 1)[1])


def test_only_the_missing_split_is_held_out() -> None:
    labels = np.arange(100) % 2
    test = np.arange(40, 60)
    given = {"train": np.setdiff1d(np.arange(100), test), "test": test}
    rows, notes, problems = split_rows(labels, given, ("a", "b"))
    assert not problems and rows["test"].tolist() == test.tolist()
    assert (len(rows["train"]), len(rows["val"])) == (64, 16)
    assert len(notes) == 1 and notes[0].startswith("val: 16 rows held out of 80")
