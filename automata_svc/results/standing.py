"""Where a job and its trials stand: the few questions every report asks of a state."""

from __future__ import annotations

from automata_svc.tuning.state import JobState, Trial


def share_of(state: JobState, trial: Trial) -> float:
    """Share of a full training that the trial has stepped, its confirmation included."""
    if trial.phase == "search":
        return state.plan.table.share_at(trial.boundary)
    return state.plan.confirm_table(trial.search_boundary).share_at(trial.boundary)


def price_of(state: JobState, trial: Trial) -> float:
    """What one trial has cost, each pass once, in full trainings."""
    return state.plan.price(trial.cost.train_rows, trial.cost.forward_rows)


def leader(state: JobState) -> Trial | None:
    """The confirmed winner; before there is one, the best at the highest rung with a usable value.

    Pruned trials count only where nobody else has a value there: a rung's loser never leads a
    trial that went on, since that one has a value at a higher rung or is on its way to it.
    """
    if state.result is not None:
        return state.trials[state.result.trial]
    if state.confirm is not None and state.confirm.trials:
        return state.trials[state.confirm.trials[0]]
    for ranking in reversed(state.rungs):
        best = ranking.best()
        if best is not None:
            return state.trials[best]
    return None


def driver_seconds(state: JobState) -> float | None:
    """Seconds in which a driver was at work; None before the first one.

    A driver that was interrupted counts up to the last fact it left in the state, so the hours
    between a kill and its resume are not in it.
    """
    if not state.drivers:
        return None
    starts = sorted(driver.time for driver in state.drivers)
    marks = sorted(_times(state))
    total = 0.0
    for index, start in enumerate(starts):
        until = starts[index + 1] if index + 1 < len(starts) else float("inf")
        inside = [mark for mark in marks if start <= mark < until]
        total += (inside[-1] - start) if inside else 0.0
    return total


def _times(state: JobState) -> list[float]:
    found = [state.move.since]
    for trial in state.trials:
        found.append(trial.move.since)
        found += [decision.time for decision in trial.decisions]
        found += [loss.time for loss in trial.losses]
    found += [fact.time for fact in (state.closed, state.confirm, state.result) if fact is not None]
    return found
