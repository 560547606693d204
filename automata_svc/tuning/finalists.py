"""Who is confirmed when the search is over."""

from __future__ import annotations

from dataclasses import dataclass

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
                trials = tuple(standing[:count])
                return Chosen(trials, rung, reason, _ahead(state, trials[0], rung))
    return Chosen((), 0, reason)


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
