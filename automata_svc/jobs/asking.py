"""What a client that asks is given: decided from the state alone.

A client that has something open gets it again (as in Vizier: a client that crashed asks with the
same id and goes on). Else it takes what was started and nobody has, else one more is started.
"""

from __future__ import annotations

from collections.abc import Sequence

from automata_svc.spec.wire.asks import AskAnswer, Order
from automata_svc.tuning.state import JobState, OpenSegment, Trial

WAIT_S = 2.0  # guess: how soon something else may be there to train
PAUSED_WAIT_S = 30.0  # somebody has to resume it first
HEARTBEAT = 0.1  # of the timeout: an ask for what a client has already is written that often


def over(state: JobState) -> AskAnswer | None:
    """The answer to every client of a job that gives nothing out, or None."""
    if state.is_over:
        return AskAnswer(done=state.state, reason=state.move.reason)
    if state.state == "PAUSED":
        return AskAnswer(wait=PAUSED_WAIT_S, reason=f"the job is paused: {state.move.reason}")
    return None


def held(state: JobState, client: str) -> list[int]:
    """Trials that this client has open segments of, in the order in which they were started."""
    return [number for number, opened in state.open.items() if opened.client == client]


def silent(state: JobState, client: str, now: float) -> list[int]:
    """Trials of other clients that have not said anything for longer than the timeout."""
    return [
        number
        for number, opened in state.open.items()
        if opened.client not in (None, client) and now - opened.seen > timeout(state)
    ]


def unseen(state: JobState, numbers: Sequence[int], now: float) -> list[int]:
    """Those of a client's trials where it is time to write down that it lives."""
    limit = HEARTBEAT * timeout(state)
    return [number for number in numbers if now - state.open[number].seen > limit]


def may_grow(state: JobState, most: int | None) -> bool:
    """Whether the job's parallelism, `most` segments at a time, lets one more run."""
    return most is None or len(state.open) < most


def timeout(state: JobState) -> float:
    return state.plan.client_timeout_s or 0.0


def answer(state: JobState, numbers: Sequence[int], most: int | None) -> AskAnswer:
    """Orders for these trials; where there are none, why, and how long to wait.

    Args:
        most: segments that may run at a time; None: any number.
    """
    ended = over(state)
    if ended is not None:
        return ended
    if numbers:
        orders = [order(state, state.trials[number]) for number in numbers]
        return AskAnswer(trials=tuple(one for one in orders if one is not None))
    return AskAnswer(wait=WAIT_S, reason=_nothing(state, most))


def order(state: JobState, trial: Trial) -> Order | None:
    """What a client needs to train a trial's open segment; None where it has none."""
    opened = trial.open
    if opened is None:
        return None
    table = state.plan.table
    latest = max(trial.checkpoints, default=0)
    return Order(
        trial=trial.number,
        segment=opened.number,
        params={**state.plan.fixed, **trial.params},
        share=table.share_at(opened.told),
        until_share=table.share_at(due(state, trial, opened)),
        from_share=table.share_at(latest),
        checkpoint=trial.checkpoints.get(latest),
        reason=opened.reason,
    )


def due(state: JobState, trial: Trial, opened: OpenSegment) -> int:
    """The boundary where this segment's next value is due."""
    rungs = state.plan.rungs
    if trial.rung >= len(rungs):
        return opened.to_boundary
    return min(rungs[trial.rung].boundary, opened.to_boundary)


def _nothing(state: JobState, most: int | None) -> str:
    clients = len({opened.client for opened in state.open.values() if opened.client is not None})
    running = f"{len(state.open)} segment(s) are with {clients} client(s)"
    if not may_grow(state, most):
        return f"{running}, as many as spec.parallelism lets run at a time"
    return f"{running}, and what they will tell decides what is trained next"
