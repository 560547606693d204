"""Recorded curves as jobs: the real core on resamples of 27 configurations out of a pool.

A pool is m configurations trained once and looked at on the way. A job draws 27 of them as its
start points, so that trial i is the i-th drawn; plan, events, decisions and price are those of any
job, on the `simulated` runner. What a value is:

- at a rung: the recorded value nearest to where the rung lands, in log share. Nothing is
  interpolated, since the mean of two checkpoints is less noisy than a checkpoint is;
- at a rung on some of the validation rows: that value with normal noise of the size which such a
  draw has (ROW_LOSS_SPREAD), drawn anew for each job and trial. A job's trials really share
  their rows, which helps a ranking: independent noise is the harder case;
- in the confirmation, values at .5 to 1 by .1: recorded up to .8, the decayed finish at 1, and at
  .9 (where the finish is half way) as recorded, or the mean of both where it was not;
- delivered: test accuracy of the finalist and checkpoint that validation picks, as the core does.

Regret is the test accuracy of the full search of the same 27 (all trained to 1 with the same
finish, checkpoint and configuration by validation) minus the delivered one, in points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.jobs.recipes import TRIALS
from automata_svc.jobs.rungs import Asked, land, pass_table, subset_rows
from automata_svc.selection.types import keyed_rng
from automata_svc.trials.types import SegmentOrder
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import DriverStart, SubsetBuilt
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.simulated import HandClock, Simulated

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIRMED = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # shares at which a confirmation is evaluated
LARGEST_BATCH = 256  # of the recorded spaces; the pass table is cut for it
FRACTION = 0.1  # the subset of a job that says nothing
SLOTS = 2  # matters to the asynchronous schedulers only
# Deviation of one row's loss in units of the mean loss, as far as it differs between trials:
# measured on our letter curves (81 configurations, one draw of 1,000 rows), .06 for an untrained
# model to .38 at a loss of 1.
ROW_LOSS_SPREAD = 0.4


@dataclass(frozen=True)
class Pool:
    """Recorded curves. Letters in shapes: m configurations, S shares."""

    name: str
    share: Floats  # [S] ascending; holds CONFIRMED
    accuracy: Floats  # [m, S] validation; the decayed finish at 1; NaN: diverged
    loss: Floats  # [m, S] validation
    test: Floats  # [m, S] accuracy; what is delivered from .5 on
    n_train: int
    n_val: int
    n_test: int
    epochs: int
    finished: NDArray[np.bool_] | None = None  # [m] really trained to 1; None: all

    def __len__(self) -> int:
        return len(self.accuracy)

    def column(self, share: float) -> int:
        """The recorded share nearest to this one, in log share."""
        return int(np.argmin(np.abs(np.log(self.share) - np.log(share))))

    def best(self) -> tuple[Floats, Floats]:
        """([m] best validation accuracy of a full training, [m] test accuracy there)."""
        columns = np.array([self.column(share) for share in CONFIRMED])
        values = np.nan_to_num(self.accuracy[:, columns], nan=-np.inf)
        last = len(CONFIRMED) - 1 - np.argmax(values[:, ::-1], axis=1)  # the later of equals
        rows = np.arange(len(self))
        return values[rows, last], self.test[rows, columns[last]]


@dataclass(frozen=True)
class Table:
    """What a search does: rungs as asked for, how many go on, who decides."""

    shares: tuple[float, ...]
    keep: tuple[int | None, ...]
    finalists: int = 1
    first_eval_rows: int | None = None
    scheduler: str = "successive_halving"
    eta: float = 3.0
    rank_by: tuple[str, ...] = ("metric", "loss")
    # Validation is evaluated at every so many epochs beside the rungs; priced, not looked at.
    eval_every_epochs: int | None = None


@dataclass(frozen=True)
class Jobs:
    """Resamples of a pool. Letters: J jobs."""

    drawn: Ints  # [J, 27] configurations
    noise: Floats = field(repr=False)  # [J, 27, 2] standard normal, for accuracy and loss


@dataclass(frozen=True)
class Outcome:
    """What one job came to."""

    trial: int  # that was delivered
    test: float
    price: float
    survivors: tuple[tuple[int, ...], ...]  # trials with a value at each rung


def draw_jobs(pool: Pool, count: int, seed: int = 0) -> Jobs:
    """Jobs of 27 out of a pool, in shuffles cut into disjoint jobs, so that all are drawn alike."""
    rng = keyed_rng(seed, "jobs", pool.name)
    drawn: list[Ints] = []
    while len(drawn) < count:
        order = rng.permutation(len(pool))
        drawn.extend(order[i : i + TRIALS] for i in range(0, len(pool) - TRIALS + 1, TRIALS))
    return Jobs(np.array(drawn[:count]), rng.normal(size=(count, TRIALS, 2)))


def full_search(pool: Pool, drawn: Ints) -> tuple[Ints, Floats]:
    """([J] what the full search chooses, [J] its test accuracy); ties to the lower trial."""
    value, test = pool.best()
    winner = drawn[np.arange(len(drawn)), np.argmax(value[drawn], axis=1)]
    return winner, test[winner]


def noise_scale(pool: Pool, eval_rows: int) -> float:
    """What a draw of so many of the validation rows adds, per unit of one row's deviation."""
    if not 0 < eval_rows < pool.n_val:
        return 0.0
    return float(np.sqrt(1 / eval_rows - 1 / pool.n_val))


def noisy(pool: Pool, column: int, config: Any, noise: Floats, scale: float) -> tuple[Any, Any]:
    """(accuracy, loss) at a recorded share, as some of the validation rows would show them."""
    accuracy, loss = pool.accuracy[config, column], pool.loss[config, column]
    if scale == 0.0:
        return accuracy, loss
    spread = np.sqrt(np.clip(accuracy * (1 - accuracy), 0.0, None))
    return (
        accuracy + scale * spread * noise[..., 0],
        loss + scale * ROW_LOSS_SPREAD * loss * noise[..., 1],
    )


class PoolCurves:
    """A job's curves, for the simulated runner."""

    def __init__(self, pool: Pool, noise: Floats) -> None:
        self._pool = pool
        self._noise = noise  # [27, 2]

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        config, column = order.params["config"], self._pool.column(share)
        if order.phase != "search":
            found = {"val_accuracy": self._pool.accuracy[config, column]}
            found["val_loss"] = self._pool.loss[config, column]
            return {**found, "test_accuracy": self._pool.test[config, column]}
        boundary = order.table.boundary_at(round(share * order.table.total_rows))
        scale = noise_scale(self._pool, order.values_at.get(boundary, 0))
        accuracy, loss = noisy(self._pool, column, config, self._noise[order.trial], scale)
        return {"val_accuracy": float(accuracy), "val_loss": float(loss)}

    def loss(self, order: SegmentOrder, share: float) -> float:
        return 1.0  # no guard is asked for: guards look at training, which is not replayed

    def seconds(self, order: SegmentOrder) -> float:
        return 100.0  # all alike


def make_plan(pool: Pool, table: Table, drawn: Sequence[int], seed: int = 0) -> SearchPlan:
    """The plan of a job on these configurations, landed as a job's is."""
    total = pool.epochs * pool.n_train
    rows = subset_rows(FRACTION, pool.n_train, LARGEST_BATCH)
    passes = pass_table(total, rows, table.shares[0], LARGEST_BATCH)
    eval_rows = (table.first_eval_rows, *([None] * (len(table.shares) - 1)))
    asked = [Asked(s, k, r) for s, k, r in zip(table.shares, table.keep, eval_rows, strict=True)]
    return SearchPlan(
        job=f"replay-{pool.name}",
        seed=seed,
        metric="val_accuracy",
        mode="max",
        loss_metric="val_loss",
        rank_by=table.rank_by,
        n_train=pool.n_train,
        n_val=pool.n_val,
        n_test=pool.n_test,
        epochs=pool.epochs,
        table=passes,
        rungs=land(asked, passes),
        trials=len(drawn),
        parallelism=None,
        scheduler=table.scheduler,
        reduction_factor=table.eta,
        search="random",
        startup_trials=None,
        start_points=tuple({"config": int(config)} for config in drawn),
        space={"config": {"choice": sorted({int(config) for config in drawn})}},
        fixed={"epochs": pool.epochs},
        guards=(),
        strategy="adaptive_random",
        fraction=FRACTION,
        finalists=table.finalists,
        checkpoint_every=0.5,  # fewer reports; the price has no checkpoints in it
    )


def run_job(pool: Pool, table: Table, drawn: Sequence[int], noise: Floats) -> Outcome:
    """One job through the engine, to its end."""
    plan = make_plan(pool, table, drawn)
    clock = HandClock()
    engine = Engine(plan, MemoryLog(), clock)
    versions = {"automata": "replay", "ray": "none", "optuna": "none", "python": "3"}
    engine.handle(DriverStart(versions, "none", SLOTS, "simulated"), SubsetBuilt(None, False, 0.0))
    Simulated(PoolCurves(pool, noise), clock).run(engine)
    state = engine.state
    if state.result is None:
        raise RuntimeError(f"{pool.name}: the job ended {state.state}: {state.move.reason}")
    extra = 0
    if table.eval_every_epochs is not None:
        due = [
            trial.cost.train_rows // (pool.n_train * table.eval_every_epochs)
            for trial in state.trials
        ]
        extra = sum(max(0, n - len(t.values)) for n, t in zip(due, state.trials, strict=True))
    return Outcome(
        trial=state.result.trial,
        test=state.result.test["test_accuracy"],
        price=state.price + plan.price(0, extra * pool.n_val),
        survivors=tuple(tuple(sorted(ranking.values)) for ranking in state.rungs),
    )


@dataclass(frozen=True)
class Figures:
    """A table on a pool. Letters: J jobs."""

    price: float  # mean
    regret: Floats  # [J] points

    @property
    def mean(self) -> float:
        return float(self.regret.mean())

    @property
    def misses(self) -> float:
        return float((self.regret > MISS).mean())

    @property
    def worst(self) -> float:
        return float(self.regret.max())


MISS = 0.5  # points


def replay(pool: Pool, table: Table, jobs: Jobs, trials: int = TRIALS) -> Figures:
    """A table on all jobs, through the core; fewer `trials`: it looks at each job's first ones."""
    _, reference = full_search(pool, jobs.drawn)
    outcomes = [
        run_job(pool, table, drawn[:trials], noise)
        for drawn, noise in zip(jobs.drawn, jobs.noise, strict=True)
    ]
    delivered = np.array([outcome.test for outcome in outcomes])
    price = float(np.mean([outcome.price for outcome in outcomes]))
    return Figures(price, 100 * (reference - delivered))
