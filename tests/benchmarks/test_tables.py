"""The search for rung tables: what it looks at costs what was asked for, and noise does not win."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from automata_svc.jobs.recipes import TRIALS
from benchmarks.price_screen import nominal_price
from benchmarks.price_tables import candidates, judge
from benchmarks.replay import draw_jobs, make_plan
from tests.benchmarks.build import make_pool


def test_every_table_lies_between_the_two_prices_and_the_order_is_always_the_same():
    pool = make_pool(averaged=True)
    found = list(islice(candidates(pool, 2.1, 2.48, 40), 40))
    assert len(found) == 40
    for price, table in found:
        assert 2.1 < price <= 2.48
        assert price == nominal_price(make_plan(pool, table, range(TRIALS)))
        assert table.finalists == table.keep[-1]
    assert [table for _, table in found] == [t for _, t in candidates(pool, 2.1, 2.48, 40)]


def test_a_table_is_judged_by_its_misses_and_every_dataset_counts_the_same():
    pool = make_pool(averaged=True)
    price, table = next(candidates(pool, 2.1, 2.48, 1))
    judged = judge(price, table, [(pool, draw_jobs(pool, 20))])
    assert 0 <= judged.misses[pool.name] <= 1
    one = type(judged)(1.0, table, {"letter_a": 0.0, "letter_b": 0.2, "own connect4_c": 0.5})
    assert one.mean == pytest.approx(np.mean([0.1, 0.5]))
