"""What a price buys: `python -m benchmarks.price` prints the tables and draws benchmarks/price.png.

Recorded curves are replayed through the real core (benchmarks/replay.py says how), with the rung
table that the planner gives for the price on that pool. What the dial does was decided on the
development pools and is reported on the others; both are shown, and told apart, and so is the
floor: what a full search loses to itself when it is trained a second time.
Wanted: the shared recordings (`curves` in a folder of AUTOMATA_DATA_DIRS) and our own, made by
`python -m benchmarks.curves` and kept in benchmarks/recorded (`--own DIR` names other folders).
What is not there is left out, and said.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automata_svc.jobs.recipes import RECIPES, TRIALS
from automata_svc.settings import Settings
from benchmarks import price_floor as floor
from benchmarks.price_arms import FULL, OTHERS, Arm, planned_table, recipe_arms
from benchmarks.price_picture import Point, Series, draw
from benchmarks.price_pools import (
    DEVELOPMENT,
    HARD,
    OWN_DEVELOPMENT,
    RETRAINED,
    lcbench_pools,
    own_pool,
    shared_pool,
)
from benchmarks.price_screen import bootstrap, nominal_price
from benchmarks.replay import (
    MISS,
    Figures,
    Ints,
    Pool,
    draw_jobs,
    full_search,
    make_plan,
    replay,
)

# What the four named sets of a default job look like: train, validation, test rows, epochs.
DATASETS = {
    "letter": (10_500, 4_500, 5_000, 50),
    "connect4": (54_720, 6_081, 6_756, 50),
    "fashion_mnist": (48_000, 12_000, 10_000, 50),
    "digits": (1_150, 288, 359, 50),
}
RECORDED = Path(__file__).with_name("recorded")
AGAIN = "again"  # beside the recordings: the same configurations, trained a second time
GOALS = ((1.5, 0.2, 0.10), (2.5, 0.2, 0.05))  # price, mean regret, share of misses
# How the other arms are called in the picture, in the order of OTHERS; "" is not in it.
PICTURED = ("full search", "", "2 random", "5 random", "Ray ASHA", "", "asha_promote", "")
SHORT = {"letter": "letter", "connect4": "connect4", "fashion": "fashion_mnist", "trec6": "trec6"}


@dataclass(frozen=True)
class Scored:
    """A pool with every arm on it."""

    pool: Pool
    chosen_on: bool  # the recipes were chosen on it
    figures: Mapping[str, Figures]
    intervals: Mapping[str, tuple[float, float]]  # of the misses in %, for recipes

    @property
    def dataset(self) -> str:
        word = self.pool.name.removeprefix("own ").split("_")[0]
        return SHORT.get(word, word)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=100, help="resamples of 27 a pool")
    parser.add_argument("--own", type=Path, action="append", help="folder of our recordings")
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_name("price.png"))
    parser.add_argument("--no-lcbench", action="store_true")
    asked = parser.parse_args()
    shared, own = _find(Settings.from_env().data_dirs, asked.own or [RECORDED])
    print(f"# What a price buys\n\nRunner: simulated, the real core. {asked.jobs} jobs a pool.\n")
    _print_prices()
    scored = []
    for pool, chosen_on in _pools(shared, own):
        scored.append(_score(pool, chosen_on, asked.jobs))
        _print_pool(scored[-1], draw_jobs(pool, asked.jobs))
    _print_floor([one.pool for one in scored], own, asked.jobs)
    if shared is not None and not asked.no_lcbench:
        _print_lcbench(shared.parent / "lcbench_surrogate")
    _print_goals(scored)
    _print_expected(scored)
    panels = _panels(scored)
    if panels:
        draw(panels, asked.picture)
        print(f"\nPicture: {asked.picture.name}")


# ---- pools ---------------------------------------------------------------------------------------


def _find(data_dirs: Iterable[Path], own: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """The folder of shared recordings, and the files of our own."""
    folders = [folder / "curves" for folder in data_dirs if (folder / "curves").is_dir()]
    files = [file for folder in own for file in sorted(folder.glob("*_pool*.npz"))]
    if not folders:
        print("(no shared recordings: no folder of AUTOMATA_DATA_DIRS holds `curves`)\n")
    if not files:
        print("(no recordings of our own: give their folder with --own)\n")
    return (folders[0] if folders else None), files


def _pools(shared: Path | None, own: Sequence[Path]) -> Iterable[tuple[Pool, bool]]:
    if shared is not None:
        for name in (*DEVELOPMENT, *RETRAINED):
            yield shared_pool(shared, name), True
    for file in own:
        yield own_pool(file), file.stem in OWN_DEVELOPMENT
    if shared is not None:
        for name in HARD:
            yield shared_pool(shared, name), False


def _score(pool: Pool, chosen_on: bool, count: int) -> Scored:
    jobs = draw_jobs(pool, count)
    recipes = recipe_arms(pool)
    arms = (*OTHERS, *recipes)
    figures = {arm.name: _replay(pool, arm, jobs) for arm in arms}
    intervals = {arm.name: _percent(bootstrap(pool, arm.table, rounds=100)[1]) for arm in recipes}
    return Scored(pool, chosen_on, figures, intervals)


def _percent(interval: tuple[float, float]) -> tuple[float, float]:
    return 100 * interval[0], 100 * interval[1]


def _replay(pool: Pool, arm: Arm, jobs: Ints) -> Figures:
    """The arm on the pool's jobs, against the full search of all 27 of each."""
    return replay(pool, arm.table, jobs[: arm.jobs], arm.trials)


# ---- tables --------------------------------------------------------------------------------------


def _print_prices() -> None:
    print("## Price of each recipe, 27 trials, T = 50 epochs, landed\n")
    print("| recipe | shares, % | keep | " + " | ".join(DATASETS) + " |")
    print("|---|---|---|" + "---|" * len(DATASETS))
    for recipe in RECIPES.values():
        shares = ", ".join(f"{100 * share:g}" for share in recipe.shares)
        keep = ", ".join(map(str, recipe.keep))
        prices = [f"{price_on(name, recipe.name):.2f}" for name in DATASETS]
        print(f"| {recipe.name} | {shares} | {keep} | " + " | ".join(prices) + " |")
    print()


def price_on(dataset: str, recipe: str) -> float:
    """What a recipe costs on a dataset of this size, if no trial fails."""
    n_train, n_val, n_test, epochs = DATASETS[dataset]
    nothing = np.ones((1, 1))
    pool = Pool(dataset, np.ones(1), nothing, nothing, nothing, n_train, n_val, n_test, epochs)
    return nominal_price(make_plan(pool, planned_table(pool, RECIPES[recipe]), range(TRIALS)))


def _print_pool(scored: Scored, jobs: Ints) -> None:
    pool = scored.pool
    winners, _ = full_search(pool, jobs)
    shares = np.unique(winners, return_counts=True)[1] / len(winners)
    kind = "development: the recipes were chosen on it" if scored.chosen_on else "report"
    print(f"## {pool.name} ({kind})\n")
    print(
        f"{len(pool)} configurations, {pool.n_train:,}/{pool.n_val:,}/{pool.n_test:,} rows, "
        f"T {pool.epochs}; {len(pool) // TRIALS} disjoint jobs, {len(shares)} distinct winners "
        f"of the full search (effectively {1 / float((shares**2).sum()):.1f})"
        + ("" if pool.finished is None or pool.finished.all() else _unfinished(pool))
        + ".\n"
    )
    print("| | price | mean regret | misses > .5 | 90 % interval | worst |")
    print("|---|---|---|---|---|---|")
    for name, figures in scored.figures.items():
        interval = scored.intervals.get(name)
        between = "" if interval is None else "{:.0f} to {:.0f} %".format(*interval)
        print(
            f"| {name} | {figures.price:.2f} | {figures.mean:.2f} | {100 * figures.misses:.0f} % | "
            f"{between} | {figures.worst:.1f} |"
        )
    print(flush=True)


def _unfinished(pool: Pool) -> str:
    trained = 0 if pool.finished is None else int(pool.finished.sum())
    return (
        f"; only {trained} were trained to 1, the others keep their value at .32: one that would "
        "have won late is missed by the reference too, which flatters the recipes"
    )


def _print_floor(pools: Sequence[Pool], own: Sequence[Path], count: int) -> None:
    """What a full search loses to its own second training, where a pool was recorded twice."""
    again = {f"own {file.stem}": file.parent / AGAIN / file.name for file in own}
    found = {pool.name: pool for pool in pools}
    lines = []
    for pool in pools:
        if pool.name == RETRAINED[0] and DEVELOPMENT[0] in found:
            second: Pool | None = found[DEVELOPMENT[0]]
        else:
            file = again.get(pool.name)
            second = own_pool(file) if file is not None and file.is_file() else None
        if second is not None:
            lines.append(f"- {floor.say(pool.name, pool, second, draw_jobs(pool, count))}")
    if lines:
        print("## Floor: the same configurations trained twice\n\n" + "\n".join(lines) + "\n")


def _print_lcbench(folder: Path, count: int = 6) -> None:
    """34 other tasks, where the earliest rungs see an untrained model."""
    if not folder.is_dir():
        print("(no LCBench surrogate there)\n")
        return
    pools = list(lcbench_pools(folder))
    print("## LCBench surrogate, 34 tasks: where so early a first rung is worthless\n")
    print(
        f"{count} jobs a task; points of validation accuracy; evaluation free; epoch 1 of 52 is "
        "all that a first rung below 2 % can see, and its τ to the final ranking is .01.\n"
    )
    print("| | price | mean regret | misses > .5 | > 2 | worst |\n|---|---|---|---|---|---|")
    arms = [arm for arm in OTHERS if arm.name != FULL and arm.trials == TRIALS]
    for arm in (*arms, *recipe_arms(pools[0])):  # all of one size
        runs = [_replay(pool, arm, draw_jobs(pool, count)) for pool in pools]
        regret = np.concatenate([run.regret for run in runs])
        print(
            f"| {arm.name} | {np.mean([run.price for run in runs]):.2f} | {regret.mean():.2f} | "
            f"{100 * (regret > MISS).mean():.0f} % | {100 * (regret > 2).mean():.0f} % | "
            f"{regret.max():.0f} |",
            flush=True,
        )
    print()


def _print_goals(scored: Sequence[Scored]) -> None:
    print("## Goals\n\n| price | on | recipe | mean regret | misses > .5 | reached |")
    print("|---|---|---|---|---|---|")
    for price, mean, misses in GOALS:
        name = dearest(price)
        for one in scored:
            if one.pool.name in HARD:
                continue
            figures = one.figures[f"recipe {name}"]
            reached = figures.mean <= mean and figures.misses <= misses
            kind = "development" if one.chosen_on else "report"
            print(
                f"| ≤ {price:g} | {one.pool.name} ({kind}) | {name} | "
                f"{figures.mean:.2f} (≤ {mean:g}) | {100 * figures.misses:.0f} % "
                f"(≤ {100 * misses:.0f}) | {'yes' if reached else 'no'} |"
            )


def _print_expected(scored: Sequence[Scored]) -> None:
    """What jobs/recipes.py says of each recipe, rounded up: every dataset counts the same.

    Over the pools that nothing was decided on, where a dataset has such a one.
    """
    datasets: dict[str, list[Scored]] = {}
    for one in scored:
        if one.pool.name not in HARD:
            datasets.setdefault(one.dataset, []).append(one)
    if not datasets:
        return
    pools = [[one for one in group if not one.chosen_on] or group for group in datasets.values()]
    names = ", ".join(one.pool.name for group in pools for one in group)
    sets = " | ".join(f"{name}: misses" for name in datasets)
    print(f"\n## Expected, over {names}\n")
    print(f"| recipe | mean regret | misses | {sets} |\n|---|---|---|" + "---|" * len(pools))
    for recipe in RECIPES:
        runs = [[one.figures[f"recipe {recipe}"] for one in group] for group in pools]
        mean = np.mean([np.mean([run.mean for run in group]) for group in runs])
        each = [100 * float(np.mean([run.misses for run in group])) for group in runs]
        cells = " | ".join(f"{misses:.0f} %" for misses in each)
        up = math.ceil(np.mean(each) - 1e-9)
        print(f"| {recipe} | {math.ceil(100 * mean - 1e-9) / 100:.2f} | {up} % | {cells} |")


def dearest(price: float) -> str:
    """The recipe that a price buys on the three goal sets."""
    sets = [name for name in DATASETS if name != "digits"]
    costs = {name: max(price_on(one, name) for one in sets) for name in RECIPES}
    payable = [name for name, cost in costs.items() if cost <= price]
    return max(payable, key=lambda name: costs[name])


def _panels(scored: Sequence[Scored]) -> dict[str, list[Series]]:
    """Per dataset its pools, those the recipes were chosen on first."""
    panels: dict[str, list[Series]] = {}
    short = dict(zip((arm.name for arm in OTHERS), PICTURED, strict=True))
    for one in scored:
        if one.pool.name in HARD:
            continue
        recipes = [
            Point(name, f.price, 100 * f.misses, *one.intervals[name])
            for name, f in one.figures.items()
            if name in one.intervals
        ]
        others = [
            Point(label, one.figures[name].price, 100 * one.figures[name].misses)
            for name, label in short.items()
            if label
        ]
        kind = "chosen on" if one.chosen_on else "report"
        recipes.sort(key=lambda point: point.price)
        series = Series(f"{one.pool.name} ({kind})", recipes, others)
        panels.setdefault(one.dataset, []).append(series)
    return panels


if __name__ == "__main__":
    main()
