"""Class budgets: exact sums, caps, and the shape each rule promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.selection.budgets import BUDGET_RULES, class_budgets

COUNTS = st.lists(st.integers(0, 500), min_size=1, max_size=30).filter(sum)


@given(COUNTS, st.floats(0.0, 1.0), st.sampled_from(sorted(BUDGET_RULES)))
def test_budgets_add_up_and_no_class_gives_more_than_it_has(
    counts: list[int], fraction: float, rule: str
) -> None:
    size = round(fraction * sum(counts))
    budgets = class_budgets(np.array(counts), size, rule)
    assert budgets.sum() == size
    assert np.all((budgets >= 0) & (budgets <= counts))


@given(COUNTS, st.floats(0.0, 1.0))
def test_proportional_budgets_are_within_a_row_of_the_share(
    counts: list[int], fraction: float
) -> None:
    size = round(fraction * sum(counts))
    budgets = class_budgets(np.array(counts), size, "proportional")
    share = size * np.array(counts) / sum(counts)
    given_away = np.sum(share < 1.0)  # at most: a row to each class that would go without
    assert (budgets - share).max() < 1.0
    assert (share - budgets).max() < 1.0 + given_away


@given(COUNTS, st.floats(0.0, 1.0), st.sampled_from(sorted(BUDGET_RULES)))
def test_every_class_has_a_row_where_there_is_one_for_each(
    counts: list[int], fraction: float, rule: str
) -> None:
    size = round(fraction * sum(counts))
    budgets = class_budgets(np.array(counts), size, rule)
    if size >= np.count_nonzero(counts):
        assert np.all((budgets > 0) == (np.array(counts) > 0))


def test_many_small_classes_take_their_rows_from_the_largest() -> None:
    counts = np.array([600, 300, *[2] * 50])  # 2 % of them: no small class would have a row
    budgets = class_budgets(counts, 60, "proportional")
    assert budgets.tolist() == [5, 5, *[1] * 50]


@given(COUNTS, st.floats(0.0, 1.0))
def test_balanced_budgets_differ_by_a_row_except_where_a_class_is_used_up(
    counts: list[int], fraction: float
) -> None:
    budgets = class_budgets(np.array(counts), round(fraction * sum(counts)), "balanced")
    open_classes = budgets[budgets < np.array(counts)]
    if len(open_classes):
        assert open_classes.max() - open_classes.min() <= 1
        assert budgets.max() <= open_classes.min() + 1


def test_the_square_root_rule_lies_between_the_two() -> None:
    counts = np.array([900, 100])
    assert class_budgets(counts, 40, "sqrt").tolist() == [30, 10]
    assert class_budgets(counts, 40, "proportional").tolist() == [36, 4]
    assert class_budgets(counts, 40, "balanced").tolist() == [20, 20]


@pytest.mark.parametrize("rule", sorted(BUDGET_RULES))
def test_small_classes_give_all_they_have(rule: str) -> None:
    assert class_budgets(np.array([2, 0, 1000]), 1002, rule).tolist() == [2, 0, 1000]
