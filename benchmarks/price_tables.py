"""Which rung tables a price can buy, by their misses on the development pools.

    python -m benchmarks.price_tables --low 2.1 --high 2.48 [--count 10000] [--best 70]

Draws tables at random out of a grid of shares and keeps, screens each (`price_screen`), and judges
the best again with all rungs moved by up to √2 either way, so that no lucky checkpoint chooses.
Every dataset counts the same. What is chosen here is reported on other pools (`benchmarks.price`).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from automata_svc.jobs.recipes import TRIALS
from automata_svc.settings import Settings
from benchmarks.price import RECORDED
from benchmarks.price_pools import DEVELOPMENT, OWN_DEVELOPMENT, RETRAINED, own_pool, shared_pool
from benchmarks.price_screen import nominal_price, screen
from benchmarks.replay import MISS, Ints, Pool, Table, draw_jobs, make_plan

SHARES = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.055, 0.08, 0.12, 0.16, 0.24, 0.32)
KEEPS = (14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
MOST_FINALISTS = 4
EARLY, EARLY_ROWS = 0.005, 1000  # a first rung up to that share is evaluated on so many rows
MOVES = (2**-0.5, 2**-0.25, 1.0, 2**0.25, 2**0.5)


@dataclass(frozen=True)
class Judged:
    """A table on the development pools."""

    price: float
    table: Table
    misses: Mapping[str, float]  # pool → share of jobs, over all moves

    @property
    def mean(self) -> float:
        """Over datasets, each counting the same."""
        of: dict[str, list[float]] = {}
        for pool, misses in self.misses.items():
            of.setdefault(pool.removeprefix("own ").split("_")[0], []).append(misses)
        return float(np.mean([np.mean(found) for found in of.values()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--low", type=float, default=2.1)
    parser.add_argument("--high", type=float, default=2.48)
    parser.add_argument("--count", type=int, default=10_000, help="tables that are screened")
    parser.add_argument("--best", type=int, default=70, help="of them, judged with moved rungs")
    asked = parser.parse_args()
    drawn = [(pool, draw_jobs(pool, 100)) for pool in development()]
    price_pool = next(pool for pool, _ in drawn if pool.name.startswith("own letter"))
    found = [
        judge(price, table, drawn, moves=(1.0,))
        for price, table in candidates(price_pool, asked.low, asked.high, asked.count)
    ]
    found.sort(key=lambda one: one.mean)
    best = [judge(one.price, one.table, drawn) for one in found[: asked.best]]
    best.sort(key=lambda one: one.mean)
    print(f"{len(found)} tables between {asked.low} and {asked.high}; misses in %, rungs moved\n")
    print(
        "| shares, % | keep | price | mean | " + " | ".join(pool.name for pool, _ in drawn) + " |"
    )
    print("|---" * (4 + len(drawn)) + "|")
    for one in best[:20]:
        shares = ", ".join(f"{100 * share:g}" for share in one.table.shares)
        keep = ", ".join(map(str, one.table.keep))
        each = " | ".join(f"{100 * misses:.0f}" for misses in one.misses.values())
        print(f"| {shares} | {keep} | {one.price:.2f} | {100 * one.mean:.1f} | {each} |")


def development() -> Iterator[Pool]:
    for folder in Settings.from_env().data_dirs:
        if (folder / "curves").is_dir():
            for name in (*DEVELOPMENT, *RETRAINED):
                yield shared_pool(folder / "curves", name)
            break
    for name in OWN_DEVELOPMENT:
        yield own_pool(RECORDED / f"{name}.npz")


def candidates(pool: Pool, low: float, high: float, count: int) -> Iterator[tuple[float, Table]]:
    """Tables whose price on the pool lies between, in a random order that is always the same."""
    grid = [
        (shares, keep)
        for rungs in range(1, 5)
        for shares in combinations(SHARES, rungs)
        for keep in combinations(KEEPS, rungs)
        if keep[-1] <= MOST_FINALISTS and low - 0.35 < _roughly(shares, keep) < high
    ]
    random.Random(0).shuffle(grid)
    for shares, keep in grid:
        rows = EARLY_ROWS if shares[0] <= EARLY else None
        table = Table(shares, keep, keep[-1], rows)
        price = nominal_price(make_plan(pool, table, range(TRIALS)))
        if low < price <= high:
            yield price, table
            count -= 1
        if count == 0:
            return


def _roughly(shares: Sequence[float], keep: Sequence[int]) -> float:
    """The price without evaluations: cheap, and never above the real one."""
    price, alive, start = 0.0, TRIALS, 0.0
    for share, more in zip(shares, keep, strict=True):
        price += alive * (share - start)
        alive, start = more, share
    return price + keep[-1] * (1 - start)


def judge(
    price: float,
    table: Table,
    drawn: Sequence[tuple[Pool, Ints]],
    moves: Sequence[float] = MOVES,
) -> Judged:
    def misses(pool: Pool, jobs: Ints) -> float:
        moved = [replace(table, shares=tuple(s * move for s in table.shares)) for move in moves]
        return float(np.mean([screen(pool, one, jobs).regret > MISS for one in moved]))

    return Judged(price, table, {pool.name: misses(pool, jobs) for pool, jobs in drawn})


if __name__ == "__main__":
    main()
