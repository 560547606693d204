"""What a client that tells is answered, and what its report is worth: from the state alone.

The same thing told twice is stored once and answered the same; what cannot be taken is refused with
the reason, and nothing is stored then.
"""

from __future__ import annotations

import math

from automata_svc.errors import Conflict, NotFound, Problem, SpecError
from automata_svc.jobs.asking import due
from automata_svc.spec.wire.asks import TellAnswer, TellRequest
from automata_svc.trials.types import Cost, PassStats, Report, Stat
from automata_svc.tuning.gate import gate
from automata_svc.tuning.inputs import Reported, SegmentFailed
from automata_svc.tuning.state import JobState, OpenSegment, Told, Trial

CLIENT_FAILED, CLIENT_LOST = "client failed", "client lost"  # why a segment was lost
ROUNDING = 0.05  # of a pass: a share this much below a boundary is that boundary, rounded


def examine(
    state: JobState, number: int, said: TellRequest
) -> TellAnswer | Reported | SegmentFailed:
    """The answer, where there is one already; else what the job is to be told.

    Raises:
        NotFound: no such trial or segment.
        Conflict: another client's segment, or not what was told before, or out of order.
        SpecError: a share beyond the segment, or a value that is due and missing.
    """
    trial = _trial(state, number, said)
    opened = trial.open
    if said.failed is not None:
        if any(lost.segment == said.segment for lost in trial.losses):
            return _given_up(trial, said.segment)
    elif (before := _told_before(state, trial, said)) is not None:
        return _same(state, trial, before, said)
    if state.is_over or opened is None or opened.number != said.segment:
        return _closed(state, trial, said.segment)
    if said.failed is not None:
        return SegmentFailed(trial.number, said.segment, CLIENT_FAILED, said.failed, said.retry)
    return Reported(_report(state, trial, opened, said))


def answer_to(state: JobState, number: int, said: TellRequest) -> TellAnswer:
    """The answer to something that has just been stored."""
    found = examine(state, number, said)
    if isinstance(found, TellAnswer):
        return found
    raise Conflict(f"trial {number}: what was told was not taken; ask what to do next")


# ---- who and what --------------------------------------------------------------------------------


def _trial(state: JobState, number: int, said: TellRequest) -> Trial:
    if not 0 <= number < len(state.trials):
        last = len(state.trials) - 1
        has = f"its trials are 0 to {last}" if last >= 0 else "it has no trials yet: ask for one"
        raise NotFound(f"job {state.plan.job} has no trial {number}; {has}")
    trial = state.trials[number]
    holder = trial.claims.get(said.segment)
    if said.segment >= trial.segment:
        started = f"its last is {trial.segment - 1}" if trial.segment else "none was started"
        raise NotFound(f"trial {trial.number} has no segment {said.segment}; {started}")
    if holder is None:
        raise Conflict(
            f"segment {said.segment} of trial {trial.number} is nobody's yet; ask for it first"
        )
    if holder != said.client_id:
        raise Conflict(
            f"segment {said.segment} of trial {trial.number} is client {holder}'s, not "
            f"{said.client_id}'s; ask for one of your own"
        )
    return trial


def _closed(state: JobState, trial: Trial, segment: int) -> TellAnswer:
    """Of a segment that is not open any more: the client must let go of it."""
    if any(lost.segment == segment for lost in trial.losses):
        return _given_up(trial, segment)
    if state.is_over:
        return TellAnswer(decision="stop", reason=f"the job is over: {state.move.reason}")
    if trial.is_over:
        return TellAnswer(decision="stop", reason=trial.move.reason)
    told = [one for one in trial.told if one.segment == segment]
    where = f" at share {told[-1].share:g}" if told else ""
    raise Conflict(
        f"segment {segment} of trial {trial.number} ended{where}: "
        f"{told[-1].reason if told else trial.move.reason}. Ask for what comes next"
    )


def _given_up(trial: Trial, segment: int) -> TellAnswer:
    lost = next(one for one in trial.losses if one.segment == segment)
    reason = f"{lost.reason}: {lost.detail}; ask for what comes next"
    return TellAnswer(decision="stop", reason=reason)


# ---- told before ---------------------------------------------------------------------------------


def _told_before(state: JobState, trial: Trial, said: TellRequest) -> Told | None:
    boundary = _boundary(state, said.share or 0.0)
    for told in reversed(trial.told):
        if told.segment == said.segment and _boundary(state, told.share) == boundary:
            return told
    return None


def _same(state: JobState, trial: Trial, told: Told, said: TellRequest) -> TellAnswer:
    passed = gate(said.values, state.plan.metric, state.plan.loss_metric)
    for name, before, now in (
        ("values", dict(told.values), dict(passed.values)),
        ("loss", told.loss, _finite(said.loss)),
        ("grad_norm", told.grad_norm, _finite(said.grad_norm)),
    ):
        if before != now:
            raise Conflict(
                f"trial {trial.number} was told of at share {told.share:g} already, with "
                f"{name} {before}, now {now}; what is told is not taken back, go on above it"
            )
    return answered(state, told)


def answered(state: JobState, told: Told) -> TellAnswer:
    """What was decided on a report, as it is said to its client."""
    if told.decision == "continue":
        if state.state == "PAUSED":
            reason = f"the job is paused: {state.move.reason}; the segment stays yours, ask for it"
            return TellAnswer(decision="wait", reason=reason)
        if told.next_rung is not None:
            until = state.plan.rungs[told.next_rung].share
            return TellAnswer(decision="continue", until_share=until, reason=told.reason)
    return TellAnswer(decision="wait" if told.decision == "wait" else "stop", reason=told.reason)


# ---- a report ------------------------------------------------------------------------------------


def _report(state: JobState, trial: Trial, opened: OpenSegment, said: TellRequest) -> Report:
    plan, share = state.plan, said.share or 0.0
    boundary, limit = _boundary(state, share), due(state, trial, opened)
    until = plan.table.share_at(limit)
    trained = boundary
    if said.done and boundary < limit:
        boundary = limit
    if boundary > limit:
        raise SpecError(
            Problem(
                "share",
                f"{share:g} is beyond {until:g}, where a value of trial {trial.number} is due; "
                f"tell of it there first{_hint(state)}",
            )
        )
    if boundary <= opened.told:
        told = plan.table.share_at(opened.told)
        raise Conflict(
            f"trial {trial.number} stands at share {told:g} already, and {share:g} is not above it "
            f"(shares count to {1 / plan.epochs:.3g}); go on from there"
        )
    if boundary == limit and plan.metric not in said.values:
        names = ", ".join(sorted(said.values)) or "nothing"
        raise SpecError(
            Problem(
                "values",
                f"{plan.metric} is due at share {until:g} and was not told; told was {names}",
            )
        )
    rows = _fresh_rows(state, trial, opened, trained, boundary)
    return Report(
        trial=trial.number,
        segment=said.segment,
        boundary=boundary,
        passes=(_stats(said, share, boundary, rows),),
        values=said.values or None,
        checkpoint=said.checkpoint,
        cost=Cost(train_rows=rows),
        done=boundary == opened.to_boundary,
    )


def _fresh_rows(
    state: JobState, trial: Trial, opened: OpenSegment, trained: int, boundary: int
) -> int:
    """Rows since what the trial had trained; where it trains that again, since the last report."""
    highest = trial.last_pass + 1
    since = highest if boundary > highest else opened.told
    table = state.plan.table
    return max(0, table.rows_at(trained) - table.rows_at(since))


def _stats(said: TellRequest, share: float, boundary: int, rows: int) -> PassStats:
    reported = [number for number in (said.loss, said.grad_norm) if number is not None]
    return PassStats(
        number=boundary - 1,
        rows=rows,
        steps=1,
        loss=_stat(said.loss),
        grad_norm=_stat(said.grad_norm),
        non_finite=int(not all(map(math.isfinite, reported))),
        facts={"share": share},  # to the last digit, beside the pass that it counts as
    )


def _boundary(state: JobState, share: float) -> int:
    """Whole passes that are done at a share."""
    return min(state.plan.table.last, math.floor(share * state.plan.epochs + ROUNDING))


def _hint(state: JobState) -> str:
    if state.plan.epochs <= 1_000:  # somebody chose it
        return ""
    return (
        "; if a training has fewer places to stop at, write how many in trial.external.passes, and "
        "rungs round up to them"
    )


def _stat(number: float | None) -> Stat | None:
    found = _finite(number)
    return None if found is None else Stat(found, found, found)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
