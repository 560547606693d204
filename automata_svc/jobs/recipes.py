"""Rung tables by price: what `budget.price` turns into.

`python -m benchmarks.price` measures these rows by replaying recorded curves through the real core;
`expected` is what it found, with the sets it was found on. Keeps are for 27 trials and scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TRIALS = 27  # the size of search the keeps are written for
DEFAULT_PRICE = 2.5


@dataclass(frozen=True)
class Expected:
    """What a recipe costs in quality, against the full search of the same trials and finish."""

    mean_regret: float  # points of test accuracy
    misses: float  # share of jobs that lose more than .5 points
    where: str  # sets, pools and how many jobs


@dataclass(frozen=True)
class Recipe:
    """A rung table that a price can buy."""

    name: str
    shares: tuple[float, ...]  # of a full training
    keep: tuple[int, ...]  # of TRIALS; the last is how many are confirmed
    # validation rows a first-rung value is taken on at most; then its loss alone ranks
    first_eval_rows: int | None
    expected: Expected | None

    def keep_of(self, trials: int) -> tuple[int, ...]:
        """The keeps for a search of another size, at least one and never rising."""
        kept: list[int] = []
        most = trials
        for count in self.keep[:-1]:
            most = max(1, min(most, round(count * trials / TRIALS)))
            kept.append(most)
        return (*kept, max(1, min(most, self.keep[-1])))


# Chosen on seven pools, by misses averaged over rungs moved by √2 either way, so that no single
# lucky checkpoint chooses (on checkpoints as recorded, a table can look twice as good as it is).
# Expected is over pools that nothing was decided on, one a dataset, each counting the same.
_MEASURED = (
    "letter, connect4, fashion_mnist: 3 pools of 60 to 81 configurations, 100 jobs of "
    f"{TRIALS} trials each"
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("one-finalist", (0.002, 0.02, 0.055, 0.16), (8, 3, 2, 1), 1000,
                   Expected(0.29, 0.20, _MEASURED)),
            Recipe("two-finalists", (0.002, 0.02, 0.055, 0.12), (8, 5, 3, 2), 1000,
                   Expected(0.06, 0.07, _MEASURED)),
            Recipe("three-finalists", (0.002, 0.02, 0.055, 0.12), (10, 7, 4, 3), 1000,
                   Expected(0.01, 0.007, _MEASURED)),
            # For trainings whose first steps rank nothing: on LCBench's 34 tasks it misses in 18 %
            # of jobs where the others miss in 53 to 75 %. Chosen where a first rung must be late.
            Recipe("late-start", (0.04, 0.08, 0.16), (13, 6, 3), None,
                   Expected(0.00, 0.007, _MEASURED)),
            Recipe("four-finalists", (0.002, 0.02, 0.055, 0.12), (12, 9, 6, 4), 1000,
                   Expected(0.00, 0.003, _MEASURED)),
        )
    }
)  # fmt: skip
