"""The line of `automata ls`: written beside the events, so that listing jobs reads no log."""

from __future__ import annotations

from typing import Any

from automata_svc.tuning.state import JobState


def summary_of(state: JobState) -> dict[str, Any]:
    """What is worth knowing of a job at a glance; JSON-able."""
    result = state.result
    best: dict[str, Any] | None = None
    for rung in range(len(state.rungs) - 1, -1, -1):
        leader = state.rungs[rung].best()
        if leader is not None:
            best = {
                "trial": leader,
                "value": state.rungs[rung].values[leader].metric,
                "rung": rung + 1,
            }
            break
    if result is not None:
        best = {
            "trial": result.trial,
            "value": result.val.get(state.plan.metric),
            "rung": None,
            "test": dict(result.test),
        }
    return {
        "reason": state.move.reason,
        "since": state.move.since,
        "trials": state.plan.trials,
        "proposed": len(state.trials),
        "running": len(state.open),
        "price": state.price,
        "best": best,
    }


def counts_of(state: JobState) -> dict[str, Any]:
    """What `jobs.totals` adds up; kept in the stored summary as `counts`, and shown to nobody."""
    return {**state.tally.to_json(), "subset": _subset(state)}


def _subset(state: JobState) -> dict[str, Any] | None:
    """The stored subset that the job asked for; None: it needs none, or has not asked yet."""
    ready = state.subset
    if ready is None or ready.artefact is None:
        return None
    return {"strategy": state.plan.strategy, "hit": ready.hit, "seconds": ready.seconds}
