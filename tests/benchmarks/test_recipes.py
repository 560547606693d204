"""The dial's table: what each row costs on sets of very different sizes."""

from __future__ import annotations

import pytest

from automata_svc.jobs.recipes import DEFAULT_PRICE, RECIPES, TRIALS
from benchmarks.price import DATASETS, dearest, price_on

# What a price on the dial must be able to buy on every named set, small ones included.
PROMISED = {"one-finalist": 1.5, "two-finalists": DEFAULT_PRICE, "late-start": 5.0}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_shares_rise_and_keeps_never_do(recipe):
    assert list(recipe.shares) == sorted(set(recipe.shares))
    assert list(recipe.keep) == sorted(recipe.keep, reverse=True)
    assert len(recipe.keep) == len(recipe.shares)
    assert recipe.keep[0] < TRIALS


@pytest.mark.parametrize("trials", [1, 2, 5, 9, 27, 100])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_keeps_scale_to_searches_of_other_sizes(recipe, trials):
    keep = recipe.keep_of(trials)
    assert len(keep) == len(recipe.keep)
    assert list(keep) == sorted(keep, reverse=True)
    assert 1 <= keep[-1] <= keep[0] <= trials


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize(("recipe", "price"), PROMISED.items())
def test_a_promised_price_pays_its_recipe_where_the_rungs_land(dataset, recipe, price):
    assert price_on(dataset, recipe) <= price


def test_the_default_price_buys_two_finalists():
    assert dearest(DEFAULT_PRICE) == "two-finalists"


def test_every_recipe_says_what_to_expect_and_where_that_was_measured():
    for recipe in RECIPES.values():
        assert recipe.expected is not None
        assert 0 <= recipe.expected.misses <= 1
        assert "jobs" in recipe.expected.where


def test_a_dearer_recipe_is_expected_to_miss_less():
    """`late-start` is left out: an insurance for sets where an early value says nothing."""
    ladder = [recipe for recipe in RECIPES.values() if recipe.name != "late-start"]
    rows = sorted(ladder, key=lambda recipe: price_on("letter", recipe.name))
    expected = [recipe.expected for recipe in rows if recipe.expected is not None]
    for cheap, dear in zip(expected, expected[1:], strict=False):
        assert dear.misses < cheap.misses
        assert dear.mean_regret <= cheap.mean_regret
