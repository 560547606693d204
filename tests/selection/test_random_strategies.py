"""`full`, `random` and `adaptive_random`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from automata_svc.errors import SpecError
from automata_svc.selection import STRATEGIES, Draw, Rows, SelectionError, adaptive_random
from automata_svc.selection.sampling import stratified_order


def rows_of(n: int, n_classes: int = 4, seed: int = 0) -> Rows:
    labels = np.random.default_rng(seed).integers(0, n_classes, n)
    return Rows(labels=labels, n_classes=n_classes)


def indices(name: str, rows: Rows, draw: Draw) -> list[int]:
    return STRATEGIES[name].select(rows, {}, draw, {}).indices.tolist()


def draw(size: int, index: int = 0, seed: tuple[int, int] = (3, 0)) -> Draw:
    return Draw(size=size, index=index, total=20, seed=seed)


def test_the_fixed_subset_is_the_same_for_all_trials_and_selections_of_a_job() -> None:
    rows = rows_of(200)
    first = indices("random", rows, draw(20))
    assert indices("random", rows, draw(20, index=9)) == first
    assert indices("random", rows, draw(20, seed=(3, 7))) == first
    assert indices("random", rows, draw(20, seed=(4, 0))) != first


@given(st.integers(1, 60), st.data())
@hypothesis_settings(max_examples=60)
def test_no_row_comes_again_before_all_have_come(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    rows = rows_of(n)
    stream = [
        row for j in range(3 * n // k + 2) for row in indices("adaptive_random", rows, draw(k, j))
    ]
    for start in range(0, len(stream) - n + 1, n):
        assert sorted(stream[start : start + n]) == list(range(n))


@given(st.integers(1, 40), st.data())
@hypothesis_settings(max_examples=60)
def test_no_row_is_twice_in_a_selection_that_crosses_into_the_next_shuffle(
    n: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n))
    for j in range(4 * n // k + 1):
        chosen = indices("adaptive_random", rows_of(n), draw(k, j))
        assert len(set(chosen)) == k


@pytest.mark.parametrize("size", [30, 70, 99])
def test_a_trial_that_goes_on_anywhere_draws_what_it_would_have_drawn(size: int) -> None:
    rows = rows_of(100)
    stream = [indices("adaptive_random", rows, draw(size, j)) for j in range(12)]
    for j in (11, 3, 7):  # each in a process that has seen nothing of the trial
        assert indices("adaptive_random", rows_of(100), draw(size, j)) == stream[j]
        indices("adaptive_random", rows, draw(size - 7, j))  # another size leaves nothing behind
        assert indices("adaptive_random", rows, draw(size, j)) == stream[j]


def test_rows_are_shuffled_once_a_cycle_however_far_a_trial_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shuffles = []

    def counted(*given: Any) -> Any:
        shuffles.append(1)
        return stratified_order(*given)

    monkeypatch.setattr(adaptive_random, "stratified_order", counted)
    rows = rows_of(100)
    for j in range(60):  # of 71 rows: a repair may reach the tail, so a cycle hangs on all before
        indices("adaptive_random", rows, draw(71, j))
    assert len(shuffles) == -(-60 * 71 // 100)
    assert len(rows.memo) == 2  # cycles that are kept


def test_each_cycle_is_shuffled_anew() -> None:
    rows = rows_of(100)
    first, second = (
        [row for j in cycle for row in indices("adaptive_random", rows, draw(20, j))]
        for cycle in (range(5), range(5, 10))
    )
    assert sorted(first) == sorted(second) and first != second


def test_each_trial_has_a_stream_of_its_own() -> None:
    rows = rows_of(300)
    assert indices("adaptive_random", rows, draw(30, seed=(3, 1))) != indices(
        "adaptive_random", rows, draw(30, seed=(3, 2))
    )


def test_each_selection_has_nearly_the_classes_of_the_whole() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    rows = Rows(labels=labels, n_classes=3)
    for j in range(40):  # 64 does not divide 1,000: some selections cross into the next shuffle
        chosen = indices("adaptive_random", rows, draw(64, j))
        counts = np.bincount(labels[chosen], minlength=3)
        assert np.abs(counts - 64 * np.array([0.6, 0.3, 0.1])).max() <= 4


def test_full_is_all_rows_whatever_the_size() -> None:
    assert indices("full", rows_of(30), draw(3)) == list(range(30))


@pytest.mark.parametrize("size", [0, -1, 31])
@pytest.mark.parametrize("name", ["random", "adaptive_random"])
def test_a_size_out_of_range_is_refused(name: str, size: int) -> None:
    with pytest.raises(SelectionError, match=f"a subset of {size} rows.*1 to 30"):
        indices(name, rows_of(30), draw(size))


def test_an_unknown_option_names_the_strategy() -> None:
    with pytest.raises(SpecError, match="strategy 'adaptive_random'.*'poll'"):
        STRATEGIES["adaptive_random"].select(rows_of(5), {}, draw(2), {"poll": 3})
