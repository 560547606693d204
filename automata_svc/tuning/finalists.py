"""Who is confirmed when the search is over."""

from __future__ import annotations

from dataclasses import dataclass

from automata_svc.tuning.costing import SLACK, confirm_price, test_price
from automata_svc.tuning.state import JobState

OUT = frozenset({"PRUNED", "STOPPED", "FAILED", "CANCELLED"})


@dataclass(frozen=True)
class Chosen:
    trials: tuple[int, ...]  # the best first
    rung: int
    reason: str
    ahead: tuple[int, ...] = ()  # better values at lower rungs; named in the report, not chosen


def choose_finalists(state: JobState) -> Chosen:
    """The best at the highest rung with values (two or more, where the budget cut the search
    short).

    A search that ran its course confirms the plan's number of finalists; one that was cut short
    confirms its best.
    """
    count = state.plan.finalists if state.closed is None else 1
    reason = "search complete" if state.closed is None else state.closed.reason
    for enough in (1,) if state.closed is None else (2, 1):
        for rung in range(len(state.rungs) - 1, -1, -1):
            ranking = state.rungs[rung]
            standing = [
                number
                for number in ranking.order()
                if ranking.values[number].metric is not None
                and state.trials[number].state not in OUT
            ]
            if len(ranking) >= enough and standing:
                trials = _payable(state, standing, count)
                return Chosen(trials, rung, reason, _ahead(state, trials[0], rung))
    return Chosen((), 0, reason)


def _payable(state: JobState, standing: list[int], count: int) -> tuple[int, ...]:
    """The best whose confirmations the rest of the budget can pay; the best alone if it pays none.

    What was reserved is for the trial that went furthest; one that waits at a lower rung has more
    of its training before it.
    """
    plan = state.plan
    if plan.price_limit is None or not plan.confirm:
        return tuple(standing[:count])
    rest = plan.price_limit - state.price - test_price(plan)
    chosen: list[int] = []
    for number in standing:
        price = confirm_price(plan, state.trials[number].boundary)
        if len(chosen) < count and price <= rest + SLACK:
            chosen.append(number)
            rest -= price
    return tuple(chosen) or (standing[0],)


def _ahead(state: JobState, winner: int, rung: int) -> tuple[int, ...]:
    """Trials that never reached `rung`, are still standing, and show a better value lower down."""
    best = state.rungs[rung].values[winner].metric
    found = []
    for trial in state.trials:
        value = trial.last_value
        if trial.rung > rung or trial.state in OUT or value is None or value.metric is None:
            continue
        if best is not None and state.better(value.metric, best):
            found.append(trial.number)
    return tuple(found)
