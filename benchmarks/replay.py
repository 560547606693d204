"""Recorded curves as jobs: the real core on resamples of 27 configurations out of a pool.

A pool is m configurations trained once and looked at on the way. A job draws 27 of them as its
start points, so that trial i is the i-th drawn; plan, events, decisions and price are those of any
job, on the `simulated` runner. What a value is:

- at a rung: the recorded value nearest to where the rung lands, in log share. Nothing is
  interpolated, since the mean of two checkpoints is less noisy than a checkpoint is;
- at a rung on some of the validation rows: as recorded on such a draw, one for all configurations,
  since a job's trials share their rows. (Noise drawn for each trial on its own made connect4 miss
  18 % where the shared draw misses 5.) Where no draw was recorded, the value on all rows;
- a value in the search is that of averaged weights, where those were recorded;
- in the confirmation, values at .5 to 1 by .1: recorded up to .8, the decayed finish at 1, and at
  .9 (where the finish is half way) as recorded, or the mean of both where it was not;
- delivered: test accuracy of the finalist and checkpoint that validation picks, as the core does.

Regret is the test accuracy of the full search of the same 27 (all trained to 1 with the same
finish, checkpoint and configuration by validation) minus the delivered one, in points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.jobs.recipes import TRIALS
from automata_svc.jobs.rungs import ask, land, pass_table, subset_rows
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
    # [m, S] of averaged weights, on all validation rows, and on one draw of 1,000 that all share;
    # NaN or None: not recorded
    averaged_accuracy: Floats | None = None
    averaged_loss: Floats | None = None
    first_accuracy: Floats | None = None
    first_loss: Floats | None = None

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
    average: bool = True  # rungs look at averaged weights
    # Validation is evaluated at every so many epochs beside the rungs; priced, not looked at.
    eval_every_epochs: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What one job came to."""

    trial: int  # that was delivered
    test: float
    price: float
    survivors: tuple[tuple[int, ...], ...]  # trials with a value at each rung


def draw_jobs(pool: Pool, count: int, seed: int = 0) -> Ints:
    """[J, 27] configurations of jobs, in shuffles cut into disjoint jobs: all are drawn alike."""
    rng = keyed_rng(seed, "jobs", pool.name)
    drawn: list[Ints] = []
    while len(drawn) < count:
        order = rng.permutation(len(pool))
        drawn.extend(order[i : i + TRIALS] for i in range(0, len(pool) - TRIALS + 1, TRIALS))
    return np.array(drawn[:count])


def full_search(pool: Pool, drawn: Ints) -> tuple[Ints, Floats]:
    """([J] what the full search chooses, [J] its test accuracy); ties to the lower trial."""
    value, test = pool.best()
    winner = drawn[np.arange(len(drawn)), np.argmax(value[drawn], axis=1)]
    return winner, test[winner]


def seen(pool: Pool, column: int, config: Any, some_rows: bool, average: bool) -> tuple[Any, Any]:
    """(accuracy, loss) that a rung shows of configurations at a recorded share."""
    found = [pool.accuracy[config, column], pool.loss[config, column]]
    if average:
        layers = [(pool.averaged_accuracy, pool.averaged_loss)]
        if some_rows:
            layers.append((pool.first_accuracy, pool.first_loss))
        for layer in layers:  # a later one where it was recorded
            found = [
                now if values is None else _where_recorded(values[config, column], now)
                for values, now in zip(layer, found, strict=True)
            ]
    return found[0], found[1]


def _where_recorded(values: Any, otherwise: Any) -> Any:
    return np.where(np.isfinite(values) & np.isfinite(otherwise), values, otherwise)


class PoolCurves:
    """A job's curves, for the simulated runner."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        config, column = order.params["config"], self._pool.column(share)
        if order.phase != "search":
            found = {"val_accuracy": self._pool.accuracy[config, column]}
            found["val_loss"] = self._pool.loss[config, column]
            return {**found, "test_accuracy": self._pool.test[config, column]}
        boundary = order.table.boundary_at(round(share * order.table.total_rows))
        some_rows = 0 < order.values_at.get(boundary, 0) < self._pool.n_val
        accuracy, loss = seen(self._pool, column, config, some_rows, order.average)
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
    asked = ask(table.shares, table.keep, eval_rows, table.rank_by)
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
        average=table.average,
        checkpoint_every=0.5,  # fewer reports; the price has no checkpoints in it
    )


def run_job(pool: Pool, table: Table, drawn: Sequence[int]) -> Outcome:
    """One job through the engine, to its end."""
    plan = make_plan(pool, table, drawn)
    clock = HandClock()
    engine = Engine(plan, MemoryLog(), clock)
    versions = {"automata": "replay", "ray": "none", "optuna": "none", "python": "3"}
    engine.handle(DriverStart(versions, "none", SLOTS, "simulated"), SubsetBuilt(None, False, 0.0))
    Simulated(PoolCurves(pool), clock).run(engine)
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


def replay(pool: Pool, table: Table, jobs: Ints, trials: int = TRIALS) -> Figures:
    """A table on all jobs, through the core; fewer `trials`: it looks at each job's first ones."""
    _, reference = full_search(pool, jobs)
    outcomes = [run_job(pool, table, drawn[:trials]) for drawn in jobs]
    delivered = np.array([outcome.test for outcome in outcomes])
    price = float(np.mean([outcome.price for outcome in outcomes]))
    return Figures(price, 100 * (reference - delivered))
