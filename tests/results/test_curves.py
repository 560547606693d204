"""Thinned curves keep their ends, their order and their peaks."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from automata_svc.results.curves import thin

numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1, max_size=300), st.integers(3, 50))
def test_ends_and_order_stay_and_every_point_is_one_that_was_there(y, size):
    x = [float(i) for i in range(len(y))]
    xs, ys = thin(x, y, size)
    assert len(xs) == min(size, len(y))
    assert list(xs) == sorted(set(xs))
    assert (xs[0], xs[-1]) == (x[0], x[-1])
    assert all(ys[i] == y[int(xs[i])] for i in range(len(xs)))


def test_a_peak_of_one_point_is_kept():
    for peak in range(1, 999):
        y = [0.0] * 1000
        y[peak] = 1.0
        xs, ys = thin(list(map(float, range(1000))), y, 20)
        assert max(ys) == 1.0, peak


def test_the_line_stays_close_to_a_smooth_one():
    x = [i / 1000 for i in range(5000)]
    y = [math.sin(value) for value in x]
    xs, ys = thin(x, y, 100)
    worst = 0.0
    for value, true in zip(x, y, strict=True):
        right = next(i for i, at in enumerate(xs) if at >= value)
        left = max(0, right - 1)
        width = xs[right] - xs[left] or 1.0
        line = ys[left] + (ys[right] - ys[left]) * (value - xs[left]) / width
        worst = max(worst, abs(line - true))
    assert worst < 0.01
