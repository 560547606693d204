"""What a job will cost if it runs its course: the figure a live table counts towards."""

from __future__ import annotations

from automata_svc.tuning.costing import finish_price, search_price
from automata_svc.tuning.plan import SearchPlan


def expected_price(plan: SearchPlan) -> float:
    """Price of the whole job in full trainings; of asynchronous schedulers about.

    Stopping asynchronously lets first arrivals pass, so the true price of `asha` lies above this.
    """
    total, start, arrive = 0.0, 0, float(plan.trials)
    for rung in plan.rungs:
        total += arrive * search_price(plan, start, rung.boundary)
        start = rung.boundary
        arrive = min(arrive, rung.keep) if rung.keep is not None else arrive / plan.reduction_factor
        arrive = max(1.0, arrive)
    total += finish_price(plan, len(plan.rungs) - 1)
    return total if plan.price_limit is None else min(total, plan.price_limit)
