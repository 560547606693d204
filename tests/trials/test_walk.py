"""Which rows a pass steps on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from automata_svc.selection import STRATEGIES
from automata_svc.selection.types import Draw, Rows, Subset
from automata_svc.trials.errors import TemplateError
from automata_svc.trials.trial import batch_sizes
from automata_svc.trials.types import PassTable
from automata_svc.trials.walk import Walk
from tests.trials.build import N_TRAIN, order

ROWS = Rows(labels=np.arange(N_TRAIN) % 4, n_classes=4)


def walk(strategy="full", to=4, chosen=None, **changes):
    what = order(to, strategy=strategy, **changes)
    return Walk(what, chosen or STRATEGIES[strategy], ROWS, {}, 16)


def indices(w, passes):
    return [w.rows_of(p, None).indices.tolist() for p in passes]


def test_the_slices_of_a_walk_are_the_whole_subset_once():
    parts = indices(walk(slices=3), range(3))
    assert sorted(sum(parts, [])) == list(range(N_TRAIN))
    assert [len(part) for part in parts] == [53, 53, 54]


def test_each_walk_has_an_order_of_its_own():
    first, second = indices(walk(slices=1), range(2))
    assert first != second
    assert sorted(first) == sorted(second)


def test_trials_walk_in_different_orders_and_a_repeated_trial_in_the_same():
    one, again, other = (indices(walk(trial=n), range(4)) for n in (5, 5, 6))
    assert one == again
    assert one != other


def test_a_pass_is_the_same_whatever_was_asked_before():
    late = indices(walk("adaptive_random", subset_rows=40), [5])
    assert late == indices(walk("adaptive_random", subset_rows=40), range(6))[5:]


def test_the_last_pass_ends_at_the_full_training_exactly():
    table = PassTable(total_rows=250, subset_rows=N_TRAIN, slices=2)
    w = walk(table=table)
    assert [len(part) for part in indices(w, range(table.last))] == [80, 80, 80, 10]


def test_a_subset_is_kept_for_as_many_walks_as_it_is_selected_for():
    w = walk("adaptive_random", subset_rows=40, slices=1, every=2)
    a, b, c = (frozenset(part) for part in indices(w, range(3)))
    assert a == b != c


def test_adaptive_random_sees_every_row_before_any_comes_again():
    parts = indices(walk("adaptive_random", subset_rows=40, slices=2), range(8))
    assert set(Counter(sum(parts, [])).values()) == {1}


def test_a_confirmation_does_not_repeat_the_order_of_the_search():
    table = replace(order(1).table, first_pass=2, first_rows=N_TRAIN)
    assert indices(walk(), [0]) != indices(walk(table=table), [2])


class Heavy:
    """A strategy whose rows have weights."""

    version, needs, options = 1, frozenset(), {}

    def __init__(self, rows):
        self.rows = rows

    def prepare(self, rows, size, seed, options):
        return {}

    def select(self, rows, artefact, draw, options, gradients=None):
        weights = np.linspace(0, 2, self.rows, dtype=np.float32)
        return Subset(np.arange(self.rows), weights, forward_rows=7, facts={"residual": 0.5})


class Asked(Heavy):
    """Remembers what it was asked for."""

    def select(self, rows, artefact, draw, options, gradients=None):
        self.draw = draw
        return super().select(rows, artefact, draw, options, gradients)


def test_a_strategy_is_asked_by_the_trials_own_seed_selection_and_batch():
    strategy = Asked(40)
    w = walk(chosen=strategy, subset_rows=40, slices=1, every=2, trial=5)
    w.rows_of(3, None)
    of_trial = order(1, trial=5)
    assert strategy.draw == Draw(
        size=40,
        index=1,
        total=of_trial.strategy.total_selections,
        seed=(of_trial.seed, 5),
        batch_size=16,
    )


def test_weights_go_with_their_rows():
    w = walk(chosen=Heavy(40), subset_rows=40, slices=1)
    chosen = w.rows_of(0, None)
    assert (
        chosen.weights.tolist() == np.linspace(0, 2, 40, dtype=np.float32)[chosen.indices].tolist()
    )
    assert (chosen.forward_rows, chosen.facts) == (7, {"residual": 0.5})
    again = walk(chosen=Heavy(40), subset_rows=40, slices=2)
    assert [again.rows_of(p, None).forward_rows for p in range(4)] == [7, 0, 7, 0]


def test_what_a_selection_cost_and_found_is_told_in_the_pass_that_selected():
    straight, resumed = (walk(chosen=Heavy(40), subset_rows=40, slices=2, every=2) for _ in "ab")
    told = [straight.rows_of(p, None).facts for p in range(6)]
    assert told == [{"residual": 0.5}, {}, {}, {}, {"residual": 0.5}, {}]
    assert [resumed.rows_of(p, None).facts for p in (3, 4)] == told[3:5]


def test_a_strategy_that_gives_another_number_of_rows_is_refused():
    with pytest.raises(TemplateError, match="gave 39 rows, 40 were asked for"):
        walk(chosen=Heavy(39), subset_rows=40).rows_of(0, None)


@pytest.mark.parametrize("size", [1, 2, 3, 16, 32, 256])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 17, 33, 40, 257, 1050, 10_500])
def test_a_passs_batches_are_nearly_equal_and_none_is_larger_than_asked(rows, size):
    sizes = batch_sizes(rows, size)
    assert sum(sizes) == rows
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= size or rows < 2 * -(-rows // size)  # then a single row joins another
    assert min(sizes) > 1 or 1 in (size, rows)


def test_equal_batches_make_no_more_steps_than_whole_ones_and_a_rest():
    assert batch_sizes(10_500, 256) == [250] * 42  # not 41 × 256 and one of 4
    assert batch_sizes(32, 16) == [16, 16]
