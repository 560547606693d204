"""What a job's log adds up to, ready to be asked. Only `tuning.evolve` writes to it.

job:    QUEUED → STARTING → RUNNING ⇄ PAUSED → STOPPING → SUCCEEDED · FAILED · CANCELLED
        (back to QUEUED between two drivers of a service)
trial:  PENDING → RUNNING ⇄ WAITING → COMPLETED · PRUNED (rung) · STOPPED (guard) · FAILED
        · CANCELLED
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
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


@dataclass(repr=False)
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

    def __repr__(self) -> str:
        """At a glance, as a notebook shows it; `results` has tables and reports."""
        best = "" if self.result is None else f", best trial {self.result.trial}"
        return (
            f"<job {self.plan.job} {self.state}: {len(self.trials)} of {self.plan.trials} trials, "
            f"price {self.price:.3g}{best}>"
        )

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
