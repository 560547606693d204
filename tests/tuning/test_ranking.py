"""Places at a rung, against a definition written out the slow way."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automata_svc.tuning.ranking import Ranking, Value

few = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.floats(0, 1))


def slow_order(values: list[Value], mode: str, rank_by: tuple[str, ...]) -> list[int]:
    """Sorts by (better of two ranks, objective, trial), ranks counted pair by pair."""
    sign = -1 if mode == "max" else 1
    metric = {v.trial: math.inf if v.metric is None else sign * v.metric for v in values}
    usable = {v.trial for v in values if v.metric is not None and v.loss is not None}
    loss = {v.trial: v.loss if v.trial in usable else math.inf for v in values}
    anyone_has_loss = any(v.loss is not None for v in values)

    def key(trial: int) -> tuple[int, float, int]:
        ranks = []
        if "metric" in rank_by or not anyone_has_loss:
            ranks.append(sum(m < metric[trial] for m in metric.values()))
        if "loss" in rank_by and anyone_has_loss:
            ranks.append(sum(x < loss[trial] for x in loss.values()))
        return (min(ranks), metric[trial], trial)

    return sorted(metric, key=key)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(few, few), min_size=1, max_size=14),
    st.sampled_from(["max", "min"]),
    st.sampled_from([("metric", "loss"), ("metric",), ("loss",)]),
)
def test_every_place_equals_the_slow_definition(pairs, mode, rank_by):
    values = [Value(trial, metric, loss) for trial, (metric, loss) in enumerate(pairs)]
    ranking = Ranking(mode, rank_by)
    for value in values[::2] + values[1::2]:
        ranking.add(value)
    expected = slow_order(values, mode, rank_by)
    assert ranking.order() == expected
    assert [ranking.position(trial) for trial in expected] == list(range(len(values)))
    for k in range(len(values) + 1):
        assert [t for t in expected if ranking.in_top(t, k)] == expected[:k]
    leader = expected[0]
    assert ranking.best() == (leader if values[leader].metric is not None else None)


@given(st.lists(st.tuples(few, few), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_best_waiting_trial_is_the_first_of_the_waiting_in_order(pairs, chance):
    ranking = Ranking("max", ("metric", "loss"))
    for trial, (metric, loss) in enumerate(pairs):
        ranking.add(Value(trial, metric, loss))
    waiting = {t for t in range(len(pairs)) if chance.random() < 0.6}
    for trial in waiting:
        ranking.park(trial)
    gone = {t for t in waiting if chance.random() < 0.3}
    for trial in gone:
        ranking.unpark(trial)
    left = [t for t in ranking.order() if t in waiting - gone]
    assert ranking.parked == len(left)
    assert ranking.best_parked() == (left[0] if left else None)


@pytest.mark.parametrize("rank_by", [("metric",), ("metric", "loss")])
def test_ties_go_to_the_lower_trial_number(rank_by):
    ranking = Ranking("max", rank_by)
    for trial in (2, 0, 1):
        ranking.add(Value(trial, 0.5, 0.5))
    assert ranking.order() == [0, 1, 2]


def test_a_refused_value_stands_last_even_with_the_best_loss():
    ranking = Ranking("max", ("metric", "loss"))
    ranking.add(Value(0, None, 0.0))
    ranking.add(Value(1, 0.1, 9.0))
    assert ranking.order() == [1, 0]


def test_a_value_that_is_taken_back_leaves_no_trace():
    taken, never = Ranking("max", ("metric", "loss")), Ranking("max", ("metric", "loss"))
    for trial, metric in enumerate((0.3, 0.9, 0.5)):
        for ranking in (taken, never):
            ranking.add(Value(trial, metric, None))
    taken.add(Value(3, 0.1, 0.01))  # the only one with a loss
    taken.remove(3)
    assert taken.order() == never.order() == [1, 2, 0]
    assert taken.best() == 1 and len(taken) == 3
