"""The rung table that a price really buys on a pool, by the planner's own choice."""

from __future__ import annotations

from typing import Any

from automata_svc.errors import Problem
from automata_svc.jobs.recipes import TRIALS
from automata_svc.jobs.rungs import pass_table, subset_rows
from automata_svc.jobs.schedule import Schedule, choose_schedule
from automata_svc.jobs.subsets import SubsetChoice
from automata_svc.spec.load import parse_job
from automata_svc.tuning.plan import SearchPlan
from benchmarks.replay import FRACTION, LARGEST_BATCH, Pool, Table, make_plan

SMALLEST_BATCH = 32  # of the recorded spaces
_JOB = """
apiVersion: automata/v1
kind: TuneJob
metadata: {{name: planned}}
spec:
  trial: {{template: tabular_mlp, dataset: letter}}
  objective: {{metric: val_accuracy, mode: max}}
  space: {{lr: [0.1]}}
  budget: {{trials: {trials}, price: {price}}}
"""


def planned(pool: Pool, price: float) -> Schedule | None:
    """What a job of 27 on a pool gets for a price; None: no recipe is as cheap."""
    fields = dict(vars(make_plan(pool, Table((0.5,), (1,)), range(TRIALS))))
    rows = subset_rows(FRACTION, pool.n_train, LARGEST_BATCH)
    total = pool.epochs * pool.n_train

    def with_rungs(first_share: float, **changes: Any) -> SearchPlan:
        table = pass_table(total, rows, first_share, LARGEST_BATCH)
        return SearchPlan(**{**fields, "table": table, **changes})

    job = parse_job(_JOB.format(trials=TRIALS, price=price))
    subset = SubsetChoice("adaptive_random", FRACTION, {}, None, 1, "")
    problems: list[Problem] = []
    return choose_schedule(job, TRIALS, subset, with_rungs, SMALLEST_BATCH, problems)


def table_for(schedule: Schedule) -> Table:
    """A schedule's rungs as a replay takes them."""
    rungs = schedule.plan.rungs
    return Table(
        shares=tuple(rung.asked for rung in rungs),
        keep=tuple(rung.keep for rung in rungs),
        finalists=schedule.plan.finalists,
        first_eval_rows=rungs[0].eval_rows or None,
    )
