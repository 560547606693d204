"""What the price tables compare: our recipes, and what a search costs without them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from automata_svc.jobs.recipes import RECIPES, TRIALS, Recipe
from benchmarks.price_plans import planned, table_for
from benchmarks.replay import Pool, Table

FULL = "full search"


@dataclass(frozen=True)
class Arm:
    """A row of the tables."""

    name: str
    table: Table
    trials: int = TRIALS  # of the job's 27 that it looks at
    jobs: int | None = None  # at most so many, where a job is slow to replay; None: all


def table_of(recipe: Recipe) -> Table:
    return Table(recipe.shares, recipe.keep, recipe.keep[-1], recipe.first_eval_rows)


def _in_full(trials: int) -> Table:
    """Everything is confirmed; the one rung only orders them."""
    return Table((0.02,), (trials,), finalists=trials, average=False)


def _rays_asha(eta: float, epochs: int = 50) -> Table:
    """Rungs at 1, η, η² … epochs of 50 and the end; validation at every epoch, as Ray does it."""
    shares, epoch = [], 1.0
    while epoch < epochs:
        shares.append(epoch / epochs)
        epoch *= eta
    return Table(
        (*shares, 1.0), (None,) * (len(shares) + 1), scheduler="asha", eta=eta,
        rank_by=("metric",), average=False, eval_every_epochs=1,
    )  # fmt: skip


OTHERS = (
    Arm(FULL, _in_full(TRIALS), jobs=10),
    Arm("one random configuration in full", _in_full(1), trials=1),
    Arm("2 random configurations in full", _in_full(2), trials=2),
    Arm("5 random configurations in full", _in_full(5), trials=5),
    Arm("Ray's stopping ASHA, rf 3, every epoch evaluated", _rays_asha(3.0), jobs=50),
    Arm("Ray's stopping ASHA, rf 4, every epoch evaluated", _rays_asha(4.0), jobs=50),
    Arm(
        "asha_promote, rungs 1, 3, 9, 27 epochs, rf 3",
        Table((0.02, 0.06, 0.18, 0.54), (None,) * 4, scheduler="asha_promote"),
    ),
    Arm(
        "halving 2, 8, 24, 64 % keep 9, 4, 2, 1 by accuracy",
        Table(
            (0.02, 0.08, 0.24, 0.64),
            (9, 4, 2, 1),
            rank_by=("metric",),
            average=False,
        ),
    ),
)


# What is asked for to get a recipe; late-start is taken where a first rung must be late.
DIAL = MappingProxyType(
    {"one-finalist": 1.5, "two-finalists": 2.5, "three-finalists": 3.7, "four-finalists": 5.0}
)


def recipe_arms(pool: Pool) -> tuple[Arm, ...]:
    """Each recipe as the planner gives it for its price; as written, where it gives another."""
    return tuple(Arm(f"recipe {r.name}", planned_table(pool, r)) for r in RECIPES.values())


def planned_table(pool: Pool, recipe: Recipe) -> Table:
    """The recipe with its first rung where the planner moves it on this pool."""
    schedule = planned(pool, DIAL[recipe.name]) if recipe.name in DIAL else None
    if schedule is None or schedule.recipe != recipe.name:
        return table_of(recipe)
    return table_for(schedule)
