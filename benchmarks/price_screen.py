"""The decisions of the core's successive halving, on all jobs at once: for sweeps and intervals.

A pre-screen, not a judge: what is printed as a result comes from `replay`. tests/benchmarks holds
the two to the same outcome, job by job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automata_svc.jobs.recipes import TRIALS
from automata_svc.selection.types import keyed_rng
from automata_svc.tuning.costing import confirm_price, search_price, test_price
from automata_svc.tuning.plan import SearchPlan
from benchmarks.replay import (
    Figures,
    Floats,
    Ints,
    Pool,
    Table,
    draw_jobs,
    full_search,
    make_plan,
    seen,
)


@dataclass(frozen=True)
class Screened:
    """Letters: J jobs."""

    delivered: Ints  # [J] place in the job of the delivered trial
    kept: tuple[NDArray[np.bool_], ...]  # per rung: [J, 27] trials that go on
    regret: Floats  # [J] points


def nominal_price(plan: SearchPlan) -> float:
    """The price of a successive-halving plan if no trial fails."""
    price, count, start = 0.0, plan.trials, 0
    for rung in plan.rungs:
        price += count * search_price(plan, start, rung.boundary)
        count, start = min(count, rung.keep or 1), rung.boundary
    return price + min(plan.finalists, count) * confirm_price(plan, start) + test_price(plan)


def screen(pool: Pool, table: Table, jobs: Ints) -> Screened:
    """Successive halving on all jobs."""
    plan = make_plan(pool, table, range(TRIALS))
    alive = np.ones(jobs.shape, dtype=bool)
    kept = []
    for number, rung in enumerate(plan.rungs):
        some_rows = 0 < rung.eval_rows < pool.n_val
        accuracy, loss = seen(pool, pool.column(rung.share), jobs, some_rows, plan.average)
        rank_by = plan.ranks_by(number)
        alive = _best(accuracy, loss, alive, rung.keep or 1, rank_by)
        kept.append(alive)
    alive = _best(accuracy, loss, alive, table.finalists, rank_by)
    value, test = pool.best()
    _, reference = full_search(pool, jobs)
    at_end = np.where(alive, value[jobs], -np.inf)
    delivered = np.argmax(at_end, axis=1)
    rows = np.arange(len(delivered))
    return Screened(
        delivered=delivered,
        kept=tuple(kept),
        regret=100 * (reference - test[jobs[rows, delivered]]),
    )


def _best(
    accuracy: Floats, loss: Floats, alive: NDArray[np.bool_], keep: int, rank_by: Sequence[str]
) -> NDArray[np.bool_]:
    """[J, 27] the best `keep` of each job's alive trials, by the better of the ranks asked for."""
    usable = alive & np.isfinite(accuracy)
    first = np.where(usable, -accuracy, np.inf)
    second = np.where(usable & np.isfinite(loss), loss, np.inf)
    chosen = [v for v, name in ((first, "metric"), (second, "loss")) if name in rank_by]
    ranks = np.minimum.reduce([(v[:, None, :] < v[:, :, None]).sum(axis=2) for v in chosen])
    trials = np.broadcast_to(np.arange(TRIALS), first.shape)
    order = np.lexsort((trials, first, ranks), axis=-1)
    out = np.zeros_like(alive)
    np.put_along_axis(out, order[:, :keep], True, axis=1)
    return out & usable


def bootstrap(
    pool: Pool, table: Table, rounds: int = 200, jobs: int = 60, seed: int = 0
) -> tuple[tuple[float, float], tuple[float, float]]:
    """90 % intervals of the mean regret and of the share of misses, over the pool's configurations.

    Each round draws m of the m configurations with replacement, and jobs out of those: what another
    pool of the same size might have shown.
    """
    rng = keyed_rng(seed, "bootstrap", pool.name)
    means, misses = [], []
    for number in range(rounds):
        again = rng.integers(len(pool), size=len(pool))
        drawn = draw_jobs(pool, jobs, seed=1000 + number)
        figures = Figures(0.0, screen(pool, table, again[drawn]).regret)
        means.append(figures.mean)
        misses.append(figures.misses)
    low, high = (5, 95)
    return (
        (float(np.percentile(means, low)), float(np.percentile(means, high))),
        (float(np.percentile(misses, low)), float(np.percentile(misses, high))),
    )
