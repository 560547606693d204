"""Rows a segment or a confirmation will take: what the budget is asked before anything starts."""

from __future__ import annotations

from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState, OpenSegment, Trial

SLACK = 1e-9  # of a training; float noise, not money


def search_price(plan: SearchPlan, start: int, end: int) -> float:
    """Price of taking a trial from one search boundary to another, values at rungs included."""
    train = plan.table.rows_at(end) - plan.table.rows_at(start)
    forward = sum(plan.eval_rows(rung) for rung in plan.rungs if start < rung.boundary <= end)
    forward += selection_rows(plan, start, end)
    return plan.price(train, forward)


def selection_rows(plan: SearchPlan, start: int, end: int) -> int:
    """Forward-only rows of re-selections in [start, end): a gradient strategy's pools."""
    pool = plan.strategy_options.get("pool") if plan.strategy == "automata" else None
    if not pool:
        return 0
    rows = min(plan.n_train, int(pool) * plan.table.subset_rows)
    walks = {plan.table.cycle(p)[0] // plan.select_every for p in range(start, end)}
    fresh = [w for w in walks if start <= w * plan.select_every * plan.table.slices < end]
    return rows * len(fresh)


def confirm_price(plan: SearchPlan, boundary: int) -> float:
    """Price of confirming one trial that stands at a search boundary, without its test rows."""
    table = plan.confirm_table(boundary)
    train = plan.total_rows - table.first_rows
    return plan.price(train, plan.n_val * len(plan.confirm_values(table)))


def test_price(plan: SearchPlan) -> float:
    """Price of the one look at the test split (validation is taken again beside it)."""
    return plan.price(0, plan.n_test + plan.n_val)


def finish_price(plan: SearchPlan, rung: int) -> float:
    """What must stay for the confirmation if the search goes up to this rung and stops there."""
    if not plan.confirm:
        return 0.0
    count = plan.finalists if rung == len(plan.rungs) - 1 else 1
    return count * confirm_price(plan, plan.rungs[rung].boundary) + test_price(plan)


def committed(state: JobState, apart_from: Trial | None = None) -> float:
    """What open search segments will still take to their next rung; one trial may be left out."""
    return sum(
        search_price(state.plan, state.trials[number].boundary, _next_rung(state, number, opened))
        for number, opened in state.open.items()
        if opened.phase == "search" and (apart_from is None or number != apart_from.number)
    )


def affordable(state: JobState, trial: Trial | None, rung: int) -> bool:
    """Whether a trial (None: a new one) may be taken to `rung` and a confirmation still be paid."""
    limit = state.plan.price_limit
    if limit is None:
        return True
    start = trial.boundary if trial is not None else 0
    cost = search_price(state.plan, start, state.plan.rungs[rung].boundary)
    needed = state.price + committed(state, trial) + cost + finish_price(state.plan, rung)
    return needed <= limit + SLACK


def _next_rung(state: JobState, number: int, opened: OpenSegment) -> int:
    rung = state.trials[number].rung
    if rung < len(state.plan.rungs):
        return min(opened.to_boundary, state.plan.rungs[rung].boundary)
    return opened.to_boundary
