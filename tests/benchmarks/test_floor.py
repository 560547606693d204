"""The floor under the misses, on pools whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.price_floor import floor, say
from benchmarks.replay import draw_jobs, full_search
from tests.benchmarks.build import make_pool


def test_a_training_that_comes_out_the_same_has_no_floor():
    pool = make_pool()
    found = floor(pool, pool, draw_jobs(pool, 6))
    assert not found.redone.any() and not found.foreseen.any() and not found.foreseen_two.any()


def test_the_floor_is_what_the_second_trainings_winner_delivers():
    pool = make_pool(diverged=0, decimals=4)
    jobs = draw_jobs(pool, 9)
    rng = np.random.default_rng(3)
    second = replace(
        pool,
        accuracy=pool.accuracy + rng.normal(0, 0.05, pool.accuracy.shape),
        test=pool.test + rng.normal(0, 0.01, pool.test.shape),
    )
    found = floor(pool, second, jobs)
    _, reference = full_search(pool, jobs)
    winners, delivered = full_search(second, jobs)
    np.testing.assert_allclose(found.redone, 100 * (reference - delivered))
    _, test = pool.best()
    np.testing.assert_allclose(found.foreseen, 100 * (reference - test[winners]))
    assert found.foreseen.any()
    # two finalists include the one, and the first's validation chooses between them
    assert (found.foreseen_two != found.foreseen).any()
    assert "misses in" in say("invented", pool, second, jobs)


def test_recordings_of_other_configurations_are_no_second_training():
    with pytest.raises(ValueError, match="different configurations"):
        floor(make_pool(60), make_pool(54), draw_jobs(make_pool(54), 2))
