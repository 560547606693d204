"""Events as a person would tell them: the lines of progress."""

from __future__ import annotations

from automata_svc.results import figures as fig
from automata_svc.results.result import rung_rows
from automata_svc.tuning import events as ev
from automata_svc.tuning.state import JobState


def decision_line(state: JobState, event: ev.Event) -> str | None:
    """One decision on a trial, short; None for events that are none."""
    if isinstance(event, ev.Decision):
        if event.verdict == "wait":
            return None
        place = f", rank {event.rank} of {event.size}" if event.rank is not None else ""
        value = (
            f"{state.plan.metric} {fig.metric(event.metric)}" if event.metric is not None else ""
        )
        verdict = _VERDICTS[event.verdict]
        detail = f"{value}{place}" or event.rule
        return f"trial {event.trial} {verdict} rung {event.rung + 1}: {detail}"
    if isinstance(event, ev.Guard):
        return f"trial {event.trial} stopped by {event.rule}: {event.detail}"
    if isinstance(event, ev.SegmentLost):
        last = event.detail.strip().splitlines()[-1:] or ["no detail"]
        after = "is tried again" if event.retry else "failed"
        return f"trial {event.trial} {after} ({event.reason}): {last[0]}"
    return None


_VERDICTS = {
    "continue": "goes on from",
    "promote": "goes on from",
    "prune": "stopped at",
    "complete": "done at",
}


def milestone(state: JobState, event: ev.Event) -> str | None:
    """A line for a log: what changed the course of the job; None for everything else."""
    if isinstance(event, ev.SubsetReady):
        if event.artefact is None:
            return None
        how = "found" if event.hit else f"computed in {fig.seconds(event.seconds)}"
        return f"subset {state.plan.strategy}: {how}"
    if isinstance(event, ev.SegmentLost):
        return decision_line(state, event)
    if isinstance(event, ev.Guard):
        return decision_line(state, event)
    if isinstance(event, ev.SearchClosed):
        return f"no new trials: {event.reason}"
    if isinstance(event, ev.ConfirmStarted):
        names = ", ".join(map(str, event.trials))
        word = "trial" if len(event.trials) == 1 else "trials"
        return f"confirming {word} {names} on all rows ({event.reason})"
    if isinstance(event, ev.ConfirmResult):
        values = {**event.val, **event.test}
        shown = [state.plan.metric, state.plan.metric.replace("val_", "test_", 1)]
        text = ", ".join(f"{name} {fig.metric(values[name])}" for name in shown if name in values)
        return f"confirmed: trial {event.trial}, {text}"
    if isinstance(event, ev.JobState) and event.state in ("PAUSED", "FAILED", "CANCELLED"):
        return f"{event.state}: {event.reason}"
    return None


def rung_line(state: JobState, rung: int) -> str:
    """A rung that has decided (from 0)."""
    row = rung_rows(state)[rung]
    goes = "goes" if row["went_on"] == 1 else "go"
    best = ""
    if row["best"] is not None:
        value = fig.metric(row["best"]["metric"])
        best = f", best {state.plan.metric} {value} (trial {row['best']['trial']})"
    trials = fig.counted(row["arrived"], "trial")
    return (
        f"rung {row['rung']} (share {fig.share(row['share'])}): {trials}, "
        f"{row['went_on']} {goes} on{best}; price {fig.price(state.price)}"
    )
