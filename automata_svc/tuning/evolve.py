"""How one stored event changes a job's state: one function per kind of event, and nothing else.

Recovery is this over the log. Total: a log that was written can always be read, in every version
of its events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from automata_svc.trials.types import Cost
from automata_svc.tuning import events as ev
from automata_svc.tuning.guards.memory import GuardMemory
from automata_svc.tuning.ranking import Value
from automata_svc.tuning.state import (
    JOB_MOVES,
    TRIAL_MOVES,
    JobState,
    Move,
    OpenSegment,
    Told,
    Trial,
)


def evolve(state: JobState, seq: int, at: float, event: ev.Event) -> None:
    """Applies one stored event. Total: a log that was written can always be read."""
    state.seq = seq
    if type(event) in ev.FACTS:
        state.fact = seq
    _APPLY[type(event)](state, event, at)


def move_trial(trial: Trial, to: str, reason: str, at: float) -> None:
    """The one place where a trial's state changes."""
    if to not in TRIAL_MOVES[trial.state]:
        raise ValueError(f"trial {trial.number} cannot go from {trial.state} to {to} ({reason})")
    trial.move = Move(to, reason, at)


def move_job(state: JobState, to: str, reason: str, at: float) -> None:
    """The one place where a job's state changes."""
    if to == state.state:
        return
    if to not in JOB_MOVES[state.state]:
        raise ValueError(f"job {state.plan.job} cannot go from {state.state} to {to} ({reason})")
    state.move = Move(to, reason, at)


# ---- one function per kind of event -----------------------------------------------------------


def _driver_started(state: JobState, event: ev.DriverStarted, at: float) -> None:
    state.drivers.append(event)
    if not (state.plan.is_external and state.drivers[:-1]):  # clients alone, but for the start
        state.tally.driver_started(state.state, at)
    state.slots = event.slots
    if state.plan.is_external:  # no process of ours ran them
        for opened in state.open.values():
            opened.seen = event.time
        return
    for number in sorted(state.open):
        trial = state.trials[number]
        _close(state, trial)
        move_trial(trial, "PENDING" if trial.phase == "search" else "RUNNING", "driver ended", at)
        state.order(trial, "the driver before this one ended")


def _job_state(state: JobState, event: ev.JobState, at: float) -> None:
    move_job(state, event.state, event.reason, at)
    if state.is_over:
        kept = state.result.checkpoint if state.result is not None else None
        for trial in state.trials:
            _drop_checkpoints(state, trial, keep={kept} if kept else set())


def _command(state: JobState, event: ev.Command, at: float) -> None:
    state.tally.commanded(event.verb)
    if event.verb == "stop":
        state.stop = event
    state.halted = event.reason if event.verb == "halt" else ""


def _slots_changed(state: JobState, event: ev.SlotsChanged, at: float) -> None:
    state.slots = event.slots


def _subset_ready(state: JobState, event: ev.SubsetReady, at: float) -> None:
    state.subset = event
    state.cost = state.cost + Cost(forward_rows=event.forward_rows, select_seconds=event.seconds)


def _trial_proposed(state: JobState, event: ev.TrialProposed, at: float) -> None:
    move = Move("PENDING", "waits for a slot", at)
    state.trials.append(Trial(event.trial, event.params, event.origin, move))
    state.order(state.trials[-1], "proposed")


def _segment_started(state: JobState, event: ev.SegmentStarted, at: float) -> None:
    trial = state.trials[event.trial]
    if state.ready and state.ready[0][1] == event.trial:
        heapq.heappop(state.ready)
    opened = OpenSegment(
        event.segment, event.phase, event.from_boundary, event.to_boundary, event.reason
    )
    opened.told = event.from_boundary
    trial.open = opened
    trial.segment = event.segment + 1
    trial.phase = event.phase
    trial.boundary = event.from_boundary
    if event.phase == "test":
        state.test_values = None
    state.open[trial.number] = opened
    move_trial(trial, "RUNNING", event.reason, at)


def _passes(state: JobState, event: ev.Passes, at: float) -> None:
    trial = state.trials[event.trial]
    fresh = [stats for stats in event.passes if stats.number > trial.last_pass]
    if (
        event.passes and not fresh
    ):  # a retry went over known ground: compared by the caller, dropped
        trial.redone = trial.redone + event.cost
        state.redone = state.redone + event.cost
    else:
        trial.cost = trial.cost + event.cost
        state.cost = state.cost + event.cost
    state.tally.reports += 1
    trial.passes += len(fresh)
    trial.last_pass = fresh[-1].number if fresh else trial.last_pass
    trial.boundary = event.boundary
    trial.retries = 0
    if event.checkpoint is not None:
        if trial.phase == "search":
            _drop_checkpoints(state, trial)
        trial.checkpoints[event.boundary] = event.checkpoint
    if trial.phase == "search":
        _value_at_rung(state, trial, event)
    elif trial.phase == "confirm":
        _value_in_confirmation(state, trial, event)
    else:
        state.test_values = event.values
    if event.valued and trial.phase != "test":
        trial.latest, trial.refused = event.values, event.refused
    for stats in fresh:
        trial.memory.add(stats)
    if trial.open is not None and trial.open.client is not None:
        trial.open.seen, trial.open.told = event.time, event.boundary
        trial.told.append(_told(state, trial, event))
    if event.done:
        _close(state, trial)
        trial.confirmed = trial.confirmed or trial.phase == "confirm"


def _value_in_confirmation(state: JobState, trial: Trial, event: ev.Passes) -> None:
    if event.valued and not event.refused:
        trial.confirm_values[event.boundary] = event.values
    best = state.best_confirmed(trial)
    kept = {trial.checkpoints.get(b) for b in (event.boundary, best) if b is not None}
    _drop_checkpoints(state, trial, keep={key for key in kept if key is not None})


def _value_at_rung(state: JobState, trial: Trial, event: ev.Passes) -> None:
    rungs = state.plan.rungs
    if not event.valued or trial.rung >= len(rungs) or event.boundary != rungs[trial.rung].boundary:
        return
    rung, value = trial.rung, Value(trial.number, event.metric, event.loss)
    trial.values[rung] = value
    trial.rung = rung + 1
    state.rungs[rung].add(value)
    state.arrivals.append((trial.number, rung, event.metric))
    if event.metric is None:
        return
    if rung == 0:
        _first_value(state, event.metric)
    goal = state.plan.goal
    if goal is not None and state.goal_reached is None and not state.better(goal, event.metric):
        state.goal_reached = trial.number


def _first_value(state: JobState, metric: float) -> None:
    improved = state.best_first is None or state.better(metric, state.best_first)
    state.best_first = metric if improved else state.best_first
    state.since_improved = 0 if improved else state.since_improved + 1


def _withdraw_value(state: JobState, trial: Trial) -> None:
    """A trial that was stopped for the report that brought a value has no place at that rung.

    Else it would take a place among the best that nobody is promoted from.
    """
    rung = trial.rung - 1
    if rung < 0 or any(decided.rung == rung for decided in trial.decisions):
        return  # its latest value was judged: it was stopped further on
    trial.rung = rung
    del trial.values[rung]
    state.rungs[rung].remove(trial.number)
    state.arrivals.pop()
    if state.goal_reached == trial.number:
        state.goal_reached = None
    if rung == 0:
        state.best_first, state.since_improved = None, 0
        for value in state.rungs[0].values.values():
            if value.metric is not None:
                _first_value(state, value.metric)


def _guard(state: JobState, event: ev.Guard, at: float) -> None:
    state.trials[event.trial].guard = event


def _decision(state: JobState, event: ev.Decision, at: float) -> None:
    trial = state.trials[event.trial]
    trial.decisions.append(event)
    _answer(state, trial, *_SAID[event.verdict], event.rule)
    if trial.state == "WAITING" and event.verdict != "wait":
        state.rungs[event.rung].unpark(trial.number)
    _VERDICTS[event.verdict](state, trial, event, at)


def _continue(state: JobState, trial: Trial, event: ev.Decision, at: float) -> None:
    state.promoted[event.rung].add(trial.number)


def _wait(state: JobState, trial: Trial, event: ev.Decision, at: float) -> None:
    _close(state, trial)
    state.rungs[event.rung].park(trial.number)
    move_trial(trial, "WAITING", f"at rung {event.rung + 1}: {event.rule}", at)


def _prune(state: JobState, trial: Trial, event: ev.Decision, at: float) -> None:
    _end(state, trial, "PRUNED", f"rung {event.rung + 1}: {event.rule}", at)


def _complete(state: JobState, trial: Trial, event: ev.Decision, at: float) -> None:
    _end(state, trial, "COMPLETED", event.rule, at)


def _promote(state: JobState, trial: Trial, event: ev.Decision, at: float) -> None:
    state.promoted[event.rung].add(trial.number)
    if event.rung + 1 < len(state.plan.rungs):
        state.order(trial, f"promoted from rung {event.rung + 1}")


def _segment_claimed(state: JobState, event: ev.SegmentClaimed, at: float) -> None:
    trial = state.trials[event.trial]
    opened = trial.open
    if opened is None or opened.number != event.segment:
        return
    if opened.client is None:
        move_trial(trial, "RUNNING", f"{opened.reason}; client {event.client_id} trains it", at)
    opened.client, opened.seen = event.client_id, event.time
    trial.claims[event.segment] = event.client_id


def _segment_lost(state: JobState, event: ev.SegmentLost, at: float) -> None:
    trial = state.trials[event.trial]
    trial.losses.append(event)
    _close(state, trial)
    if event.retry and trial.retries < state.plan.trial_retries:
        trial.retries += 1
        move_trial(trial, "PENDING" if trial.phase == "search" else "RUNNING", event.reason, at)
        state.order(trial, f"retry {trial.retries} after: {event.reason}")
    else:
        _end(state, trial, "FAILED", f"{event.reason}: {_last_line(event.detail)}", at)


def _trial_ended(state: JobState, event: ev.TrialEnded, at: float) -> None:
    trial = state.trials[event.trial]
    if any(queued[1] == trial.number for queued in state.ready):
        state.ready = [queued for queued in state.ready if queued[1] != trial.number]
        heapq.heapify(state.ready)
    if event.state == "STOPPED":
        _withdraw_value(state, trial)
    _end(state, trial, event.state, event.reason, at)


def _search_closed(state: JobState, event: ev.SearchClosed, at: float) -> None:
    state.closed = event
    state.ready = []


def _confirm_started(state: JobState, event: ev.ConfirmStarted, at: float) -> None:
    state.confirm = event
    state.ready = []
    for trial in state.trials:
        if trial.number in event.trials:
            trial.search_boundary = trial.boundary
            trial.phase = "confirm"
            if not state.plan.resume:
                trial.memory = GuardMemory()  # a training of its own: its start is no divergence
            if state.plan.resume and state.plan.table.share_at(trial.boundary) >= 1:
                trial.confirmed = True
                trial.confirm_values[trial.boundary] = trial.latest
            else:
                state.order(trial, "confirmation")
        else:
            _drop_checkpoints(state, trial)


def _confirm_result(state: JobState, event: ev.ConfirmResult, at: float) -> None:
    state.result = event


def _tick(state: JobState, event: ev.Tick, at: float) -> None:
    state.alive_s = event.alive_s


def _replay_divergence(state: JobState, event: ev.ReplayDivergence, at: float) -> None:
    state.divergences.append(event)


_VERDICTS: Mapping[str, Callable[[JobState, Trial, ev.Decision, float], None]] = MappingProxyType(
    {
        "continue": _continue,
        "wait": _wait,
        "promote": _promote,
        "prune": _prune,
        "complete": _complete,
    }
)
_APPLY: Mapping[type[ev.Event], Callable[[JobState, Any, float], None]] = MappingProxyType(
    {
        ev.DriverStarted: _driver_started,
        ev.JobState: _job_state,
        ev.Command: _command,
        ev.SlotsChanged: _slots_changed,
        ev.SubsetReady: _subset_ready,
        ev.TrialProposed: _trial_proposed,
        ev.SegmentStarted: _segment_started,
        ev.Passes: _passes,
        ev.Guard: _guard,
        ev.Decision: _decision,
        ev.SegmentLost: _segment_lost,
        ev.SegmentClaimed: _segment_claimed,
        ev.TrialEnded: _trial_ended,
        ev.SearchClosed: _search_closed,
        ev.ConfirmStarted: _confirm_started,
        ev.ConfirmResult: _confirm_result,
        ev.Tick: _tick,
        ev.ReplayDivergence: _replay_divergence,
    }
)


# What a client is answered for a verdict on its trial, and what stands before the rule.
_SAID: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "continue": ("continue", ""),
        "wait": ("wait", ""),
        "promote": ("wait", "it goes on when you or somebody else asks: "),
        "prune": ("stop", ""),
        "complete": ("stop", ""),
    }
)


def _told(state: JobState, trial: Trial, event: ev.Passes) -> Told:
    stats = event.passes[-1]
    return Told(
        seq=state.seq,
        segment=event.segment,
        share=stats.facts["share"],
        values=event.values,
        loss=None if stats.loss is None else stats.loss.last,
        grad_norm=None if stats.grad_norm is None else stats.grad_norm.last,
        next_rung=trial.rung if trial.rung < len(state.plan.rungs) else None,
    )


def _answer(state: JobState, trial: Trial, decision: str, before: str, rule: str) -> None:
    """What is decided on what a client has just told is the answer that it gets."""
    if trial.told and trial.told[-1].seq == state.fact:
        trial.told[-1].decision, trial.told[-1].reason = decision, before + rule


def _close(state: JobState, trial: Trial) -> None:
    trial.open = None
    state.open.pop(trial.number, None)


def _end(state: JobState, trial: Trial, to: str, reason: str, at: float) -> None:
    """A trial's search is over; its checkpoints go unless it may still be confirmed."""
    _close(state, trial)
    move_trial(trial, to, reason, at)
    state.tally.trial_ended(trial.number, to)
    _answer(state, trial, "stop", "", reason)
    if to == "FAILED":
        state.failed += 1
    if to in ("STOPPED", "FAILED") and not trial.values:
        state.arrivals.append((trial.number, -1, None))  # a searcher should not come back here
    if to == "COMPLETED":
        return
    heading = trial.rung
    if heading < len(state.plan.rungs) and (
        heading == 0 or trial.number in state.promoted[heading - 1]
    ):
        state.settled[heading] += 1
    _drop_checkpoints(state, trial)


def _drop_checkpoints(state: JobState, trial: Trial, keep: set[str] | None = None) -> None:
    kept = {b: key for b, key in trial.checkpoints.items() if keep and key in keep}
    if state.plan.is_external:  # a client's own words for something of its own
        trial.checkpoints = kept
        return
    state.garbage.extend(key for b, key in trial.checkpoints.items() if b not in kept)
    trial.checkpoints = kept


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no detail"
