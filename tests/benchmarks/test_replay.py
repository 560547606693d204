"""Replayed jobs are real jobs: held to an oracle written from the definition, and to the screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automata_svc.jobs.recipes import RECIPES
from benchmarks.price_arms import OTHERS, recipe_arms
from benchmarks.price_plans import planned, table_for
from benchmarks.price_pools import shared_pool
from benchmarks.price_screen import bootstrap, nominal_price, screen
from benchmarks.replay import (
    Table,
    draw_jobs,
    full_search,
    make_plan,
    replay,
    run_job,
    seen,
)
from tests.benchmarks.build import make_pool

ALL_ROWS = Table((0.01, 0.06, 0.16), (9, 4, 2), finalists=2)
SOME_ROWS = Table((0.0025, 0.02, 0.08), (8, 4, 1), finalists=1, first_eval_rows=1000)


def oracle(accuracy, loss, columns, keep):
    """Synchronous halving from its definition: who reaches each rung. Values are [27, S]."""
    alive, reached = list(range(len(accuracy))), []
    for column, k in zip(columns, keep, strict=True):
        reached.append(tuple(alive))
        alive = [t for t in alive if np.isfinite(accuracy[t, column])]

        def place(trial, column=column, alive=tuple(alive)):
            by_accuracy = sum(accuracy[o, column] > accuracy[trial, column] for o in alive)
            by_loss = sum(loss[o, column] < loss[trial, column] for o in alive)
            return (min(by_accuracy, by_loss), -accuracy[trial, column], trial)

        alive = sorted(sorted(alive, key=place)[:k])
    return reached


@pytest.mark.parametrize("keep", [(9, 4, 2), (12, 6, 1), (3, 2, 2)])
def test_the_core_keeps_whom_the_definition_of_halving_keeps(keep):
    pool = make_pool()
    jobs = draw_jobs(pool, 12)
    table = replace(ALL_ROWS, keep=keep, finalists=keep[-1])
    plan = make_plan(pool, table, range(27))
    columns = [pool.column(rung.share) for rung in plan.rungs]
    for drawn in jobs:
        outcome = run_job(pool, table, drawn)
        assert list(outcome.survivors) == oracle(
            pool.accuracy[drawn], pool.loss[drawn], columns, keep
        )


@pytest.mark.parametrize("table", [ALL_ROWS, SOME_ROWS], ids=["all rows", "1,000 rows"])
@pytest.mark.parametrize("rank_by", [("metric", "loss"), ("metric",), ("loss",)])
def test_the_screen_decides_as_the_core_does_job_by_job(table, rank_by):
    pool = make_pool(seed=1, averaged=True)
    jobs = draw_jobs(pool, 8)
    table = replace(table, rank_by=rank_by)
    screened = screen(pool, table, jobs)
    for number, drawn in enumerate(jobs):
        outcome = run_job(pool, table, drawn)
        kept = [tuple(np.flatnonzero(on[number])) for on in screened.kept[:-1]]
        assert [*outcome.survivors[1:]] == kept
        assert outcome.trial == screened.delivered[number]
    np.testing.assert_array_equal(screened.regret, replay(pool, table, jobs).regret)


def test_a_rung_shows_averaged_weights_and_some_rows_where_they_were_recorded():
    pool = make_pool(seed=1, averaged=True)
    configs = np.arange(len(pool))
    early, late = pool.column(0.0025), pool.column(0.06)
    raw, _ = seen(pool, late, configs, some_rows=False, average=False)
    np.testing.assert_array_equal(raw, pool.accuracy[:, late])
    all_rows, _ = seen(pool, late, configs, some_rows=False, average=True)
    finite = np.isfinite(pool.accuracy[:, late])
    np.testing.assert_array_equal(all_rows[finite], pool.averaged_accuracy[finite, late])
    assert np.isnan(all_rows[~finite]).all()  # a diverged trial has no value
    _, some = seen(pool, early, configs, some_rows=True, average=True)
    finite = np.isfinite(pool.loss[:, early])
    np.testing.assert_array_equal(some[finite], pool.first_loss[finite, early])
    _, unrecorded = seen(pool, late, configs, some_rows=True, average=True)
    _, averaged = seen(pool, late, configs, some_rows=False, average=True)
    np.testing.assert_array_equal(unrecorded, averaged)


@pytest.mark.parametrize("price", [1.5, 2.5, 5.0])
def test_a_planned_table_replays_as_the_plan_it_came_from(price):
    pool = make_pool(diverged=0)
    schedule = planned(pool, price)
    assert schedule is not None
    again = make_plan(pool, table_for(schedule), range(27))
    assert again.rungs == schedule.plan.rungs
    assert again.table == schedule.plan.table
    assert nominal_price(again) == pytest.approx(schedule.price)
    assert schedule.price <= price


def test_no_price_buys_less_than_the_cheapest_recipe():
    assert planned(make_pool(), 1.1) is None


def test_a_search_that_confirms_all_27_has_no_regret():
    pool = make_pool(seed=2)
    jobs = draw_jobs(pool, 6)
    figures = replay(pool, Table((0.02,), (27,), finalists=27), jobs)
    assert not figures.regret.any()
    assert figures.price > 26


def test_the_full_search_is_the_best_of_each_jobs_own_configurations():
    pool = make_pool(diverged=0)
    jobs = draw_jobs(pool, 5)
    winners, test = full_search(pool, jobs)
    columns = [pool.column(share) for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    for drawn, winner, value in zip(jobs, winners, test, strict=True):
        assert pool.accuracy[winner, columns].max() == pool.accuracy[np.ix_(drawn, columns)].max()
        assert value in pool.test[winner, columns]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_nominal_price_is_what_a_job_without_failures_pays(recipe):
    pool = make_pool(diverged=0)
    (arm,) = (arm for arm in recipe_arms(pool) if arm.name == f"recipe {recipe}")
    jobs = draw_jobs(pool, 1)
    paid = replay(pool, arm.table, jobs).price
    assert paid == pytest.approx(nominal_price(make_plan(pool, arm.table, range(27))), rel=1e-12)


@pytest.mark.parametrize("arm", OTHERS, ids=lambda arm: arm.name)
def test_every_arm_of_the_tables_delivers_a_model(arm):
    pool = make_pool(diverged=0)
    jobs = draw_jobs(pool, 2)
    figures = replay(pool, arm.table, jobs, arm.trials)
    assert np.isfinite(figures.regret).all()
    assert figures.price > 1


def test_evaluating_every_epoch_costs_a_third_of_its_rows_and_changes_no_decision():
    pool = make_pool(diverged=0)
    jobs = draw_jobs(pool, 2)
    table = Table((0.02, 0.06, 0.18), (None,) * 3, scheduler="asha", rank_by=("metric",))
    often = Table(
        (0.02, 0.06, 0.18), (None,) * 3, scheduler="asha", rank_by=("metric",), eval_every_epochs=1
    )
    plain, dear = replay(pool, table, jobs), replay(pool, often, jobs)
    np.testing.assert_array_equal(plain.regret, dear.regret)
    per_value = pool.n_val / 3 / (pool.epochs * pool.n_train)
    values = (dear.price - plain.price) / per_value * len(jobs)
    assert values == pytest.approx(round(values))
    assert values > 0


def test_jobs_between_two_shuffles_share_no_configuration():
    pool = make_pool(configurations=81)
    drawn = draw_jobs(pool, 6)
    for first in (0, 3):
        assert len(set(drawn[first : first + 3].ravel().tolist())) == 81


def test_an_interval_holds_the_figure_of_a_pool_where_all_jobs_are_alike():
    pool = make_pool(diverged=0)
    same = np.broadcast_to(pool.accuracy[:1], pool.accuracy.shape)
    alike = type(pool)(**{**vars(pool), "accuracy": same, "test": same * 0 + 0.5})
    mean, misses = bootstrap(alike, ALL_ROWS, rounds=3, jobs=4)
    assert mean == misses == (0.0, 0.0)


def test_recorded_curves_give_the_same_through_screen_and_core(data_dirs):
    folder = next((d / "curves" for d in data_dirs if (d / "curves").is_dir()), Path())
    if folder == Path():
        pytest.skip("no recorded curves: no data folder holds `curves`")
    pool = shared_pool(folder, "connect4_seed0")
    jobs = draw_jobs(pool, 4)
    arm = recipe_arms(pool)[0]
    np.testing.assert_array_equal(
        screen(pool, arm.table, jobs).regret,
        replay(pool, arm.table, jobs).regret,
    )
