"""What a job's log adds up to: `evolve` applies one event to the one state, and nothing else does.

job:    QUEUED → STARTING → RUNNING ⇄ PAUSED → STOPPING → SUCCEEDED · FAILED · CANCELLED
        (back to QUEUED between two drivers of a service)
trial:  PENDING → RUNNING ⇄ WAITING → COMPLETED · PRUNED (rung) · STOPPED (guard) · FAILED ·
CANCELLED
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from automata_svc.trials.types import Cost, Phase
from automata_svc.tuning import events as ev
from automata_svc.tuning.guards.memory import GuardMemory
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.ranking import Ranking, Value
from automata_svc.tuning.tally import Tally

JOB_MOVES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "QUEUED": frozenset({"STARTING", "RUNNING", "PAUSED", "CANCELLED", "FAILED"}),
        "STARTING": frozenset({"QUEUED", "RUNNING", "FAILED", "CANCELLED", "PAUSED"}),
        "RUNNING": frozenset({"QUEUED", "PAUSED", "STOPPING", "SUCCEEDED", "FAILED", "CANCELLED"}),
        "PAUSED": frozenset({"QUEUED", "RUNNING", "STOPPING", "CANCELLED", "FAILED"}),
        "STOPPING": frozenset({"SUCCEEDED", "CANCELLED", "FAILED"}),
        "SUCCEEDED": frozenset(),
        "FAILED": frozenset(),
        "CANCELLED": frozenset(),
    }
)
TRIAL_MOVES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "PENDING": frozenset({"RUNNING", "CANCELLED"}),
        "RUNNING": frozenset(
            {
                "RUNNING",
                "WAITING",
                "PENDING",
                "COMPLETED",
                "PRUNED",
                "STOPPED",
                "FAILED",
                "CANCELLED",
            }
        ),
        "WAITING": frozenset({"RUNNING", "COMPLETED", "PRUNED", "FAILED", "CANCELLED"}),
        # A finalist that stood at the top rung is trained on by the confirmation.
        "COMPLETED": frozenset({"RUNNING", "FAILED"}),
        "PRUNED": frozenset({"RUNNING"}),
        "STOPPED": frozenset(),
        "FAILED": frozenset(),
        "CANCELLED": frozenset(),
    }
)
JOB_ENDS = frozenset(state for state, moves in JOB_MOVES.items() if not moves)
TRIAL_ENDS = frozenset({"COMPLETED", "PRUNED", "STOPPED", "FAILED", "CANCELLED"})


@dataclass
class Move:
    """A state, why it was entered, and since when."""

    state: str
    reason: str
    since: float


@dataclass
class OpenSegment:
    """A segment that holds a slot."""

    number: int
    phase: Phase
    from_boundary: int
    to_boundary: int
    reason: str = ""  # why it was started
    client: str | None = None  # who trains it, where that is not us
    seen: float = 0.0  # when that client last said something
    told: int = 0  # the boundary it last told of


@dataclass
class Told:
    """What a client told and what it was answered, so that the same gets the same."""

    seq: int
    segment: int
    share: float  # to the last digit
    values: Mapping[str, float]  # those that are finite, as the next two are
    loss: float | None
    grad_norm: float | None
    next_rung: int | None  # its index; None: it stands at the last
    decision: str = "continue"  # or "wait", "stop"
    reason: str = ""


@dataclass
class Trial:
    """One configuration and what became of it."""

    number: int
    params: Mapping[str, Any]
    origin: str
    move: Move
    segment: int = 0  # the next segment's number
    open: OpenSegment | None = None
    phase: Phase = "search"
    boundary: int = 0  # passes done in its phase
    rung: int = 0  # rungs it has a value at; the next one's index
    values: dict[int, Value] = field(default_factory=dict)  # rung → value
    decisions: list[ev.Decision] = field(default_factory=list)
    checkpoints: dict[int, str] = field(default_factory=dict)  # boundary → blob, of its phase
    confirm_values: dict[int, Mapping[str, float]] = field(default_factory=dict)
    confirmed: bool = False  # trained to share 1 in its confirmation
    refused: str = ""  # why the gate refused its latest value
    latest: Mapping[str, float] = field(default_factory=dict)  # values of its last valued report
    retries: int = 0  # of lost segments, in a row
    losses: list[ev.SegmentLost] = field(default_factory=list)
    guard: ev.Guard | None = None
    memory: GuardMemory = field(default_factory=GuardMemory)
    passes: int = 0  # each once; what they looked like stands in the log alone
    last_pass: int = -1  # the highest that counts; one reported again is dropped
    cost: Cost = field(default_factory=Cost)  # each pass once
    redone: Cost = field(default_factory=Cost)  # what a retry did again
    search_boundary: int = 0  # where the search left it, once the confirmation took over
    claims: dict[int, str] = field(default_factory=dict)  # segment → the client that trained it
    told: list[Told] = field(default_factory=list)  # trained elsewhere only

    @property
    def state(self) -> str:
        return self.move.state

    @property
    def is_over(self) -> bool:
        return self.state in TRIAL_ENDS

    @property
    def last_value(self) -> Value | None:
        """At the highest rung it reached."""
        return self.values[max(self.values)] if self.values else None


@dataclass
class JobState:
    """Everything a job's log says, ready to be asked. Only `evolve` writes to it."""

    plan: SearchPlan
    seq: int = 0
    fact: int = 0  # the position of the last event that came from outside
    move: Move = field(default_factory=lambda: Move("QUEUED", "submitted", 0.0))
    slots: int = 0
    alive_s: float = 0.0
    drivers: list[ev.DriverStarted] = field(default_factory=list)
    subset: ev.SubsetReady | None = None
    trials: list[Trial] = field(default_factory=list)
    open: dict[int, OpenSegment] = field(default_factory=dict)  # trial → its segment
    rungs: list[Ranking] = field(default_factory=list)
    promoted: list[set[int]] = field(default_factory=list)  # rung → trials that went on from it
    arrivals: list[tuple[int, int, float | None]] = field(
        default_factory=list
    )  # trial, rung (-1: none), metric
    ready: list[tuple[int, int, int, str]] = field(default_factory=list)  # heap: order, trial, …
    settled: list[int] = field(default_factory=list)  # rung → trials that ended on their way to it
    failed: int = 0
    best_first: float | None = None  # the best objective at the first rung
    since_improved: int = 0  # trials valued at the first rung since its best improved
    goal_reached: int | None = None  # trial
    closed: ev.SearchClosed | None = None
    stop: ev.Command | None = None
    halted: str = ""  # why the job was paused, where no user asked for it
    confirm: ev.ConfirmStarted | None = None
    result: ev.ConfirmResult | None = None
    test_values: Mapping[str, float] | None = None
    cost: Cost = field(default_factory=Cost)
    redone: Cost = field(default_factory=Cost)
    garbage: list[str] = field(default_factory=list)  # blobs nothing will ask for again
    divergences: list[ev.ReplayDivergence] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        for number in range(len(self.plan.rungs)):
            self.rungs.append(Ranking(self.plan.mode, self.plan.ranks_by(number)))
            self.promoted.append(set())
            self.settled.append(0)

    @property
    def state(self) -> str:
        return self.move.state

    @property
    def is_over(self) -> bool:
        return self.state in JOB_ENDS

    @property
    def free_slots(self) -> int:
        return self.slots - len(self.open)

    @property
    def price(self) -> float:
        """What was spent so far, each (trial, pass) once, in full trainings."""
        return self.plan.price(self.cost.train_rows, self.cost.forward_rows)

    def unclaimed(self) -> int | None:
        """The trial whose open segment was started first and has no client yet."""
        return next((number for number, one in self.open.items() if one.client is None), None)

    def better(self, a: float, b: float) -> bool:
        return a > b if self.plan.mode == "max" else a < b

    def best_confirmed(self, trial: Trial) -> int | None:
        """The boundary of a confirmation with the best validation value; the later of equals."""
        best: int | None = None
        for boundary, values in sorted(trial.confirm_values.items()):
            value = values[self.plan.metric]
            if best is None or not self.better(trial.confirm_values[best][self.plan.metric], value):
                best = boundary
        return best

    def order(self, trial: Trial, reason: str) -> None:
        """Puts a trial into the queue for slots: confirmations first, then the higher rung."""
        rank = {"test": -2000, "confirm": -1000}.get(trial.phase, -trial.rung)
        heapq.heappush(self.ready, (rank, trial.number, trial.segment, reason))


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
        improved = state.best_first is None or state.better(event.metric, state.best_first)
        state.best_first = event.metric if improved else state.best_first
        state.since_improved = 0 if improved else state.since_improved + 1
    goal = state.plan.goal
    if goal is not None and state.goal_reached is None and not state.better(goal, event.metric):
        state.goal_reached = trial.number


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
