"""The facts a job's log is made of. The log is the truth; everything else is computed from it.

A body carries a version `v`; `evolve` reads every version that was ever written. Numbers that are
not finite are stored as {"$": "nan"}, {"$": "inf"}, {"$": "-inf"}, since JSON has no word for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from automata_svc.trials.types import Cost, PassStats, Phase, Stat

VERSION = 1


@dataclass(frozen=True)
class Event:
    """One stored fact; subclasses are the kinds."""


@dataclass(frozen=True)
class DriverStarted(Event):
    """A driver took the job over; segments that were open are lost with the one before it."""

    versions: Mapping[str, str]  # automata, ray, optuna, python
    template_sha: str
    slots: int
    runner: str
    time: float = 0.0


@dataclass(frozen=True)
class JobState(Event):
    """The job as a whole moved to another state."""

    state: str
    reason: str
    time: float = 0.0


@dataclass(frozen=True)
class Command(Event):
    """A user, or a service's controller, asked for one of `inputs.VERBS`."""

    verb: str
    reason: str = ""
    time: float = 0.0


@dataclass(frozen=True)
class SlotsChanged(Event):
    slots: int


@dataclass(frozen=True)
class SubsetReady(Event):
    """The model-free part of the strategy is stored (or there is none to store)."""

    artefact: str | None
    hit: bool
    seconds: float
    forward_rows: int = 0
    note: str = ""


@dataclass(frozen=True)
class TrialProposed(Event):
    """A configuration was drawn; a function of job seed, trial number and the history at `seen`."""

    trial: int
    params: Mapping[str, Any]
    seen: int  # log position of the history it was drawn from
    origin: str  # "random", "tpe", "tpe startup", "start point", …
    time: float = 0.0


@dataclass(frozen=True)
class SegmentStarted(Event):
    """A trial may run on one slot, from one boundary to another."""

    trial: int
    segment: int
    phase: Phase
    from_boundary: int
    to_boundary: int
    checkpoint: str | None
    reason: str  # "proposed", "promoted to rung 2", "retry after …", "confirmation", …
    time: float = 0.0


@dataclass(frozen=True)
class Passes(Event):
    """A report, through the gate: what was done since the last one, and a value if one was due."""

    trial: int
    segment: int
    boundary: int
    passes: tuple[PassStats, ...]
    metric: float | None  # the objective, finite; None: none was due, or it was refused
    loss: float | None
    values: Mapping[str, float]  # all finite metrics of the report
    refused: str  # why the gate refused the objective's value; "" when it did not
    valued: bool  # a value was due here
    checkpoint: str | None
    cost: Cost
    trip: str | None
    done: bool
    time: float = 0.0


@dataclass(frozen=True)
class Guard(Event):
    """An early-termination rule fired."""

    trial: int
    boundary: int
    rule: str
    detail: str
    value: float
    limit: float


@dataclass(frozen=True)
class Neighbour:
    """A competitor near the cut, as it stood when the decision was made."""

    trial: int
    metric: float | None
    loss: float | None
    rank: int  # from 1


@dataclass(frozen=True)
class Decision(Event):
    """What a scheduler said of a trial at a rung, with what it was compared to."""

    trial: int
    rung: int
    verdict: str  # wait · continue · promote · prune · complete
    rule: str  # the scheduler's rule, in words
    size: int  # trials with a place in the rung when this was decided
    rank: int | None  # from 1; None while it waits
    cutoff: int | None  # ranks up to this one go on
    metric: float | None
    loss: float | None
    neighbours: tuple[Neighbour, ...] = ()
    time: float = 0.0


@dataclass(frozen=True)
class SegmentLost(Event):
    """A segment ended without its last report."""

    trial: int
    segment: int
    reason: str  # "error", "worker lost", "silent", "checkpoint"
    detail: str  # for "error" the template's own traceback
    retry: bool  # whether a retry may help (a template that raises raises again: no)
    time: float = 0.0


@dataclass(frozen=True)
class SegmentClaimed(Event):
    """A client trains this segment, and is alive; again where it asks for it once more."""

    trial: int
    segment: int
    client_id: str
    time: float = 0.0


@dataclass(frozen=True)
class TrialEnded(Event):
    """A trial is over for another reason than a rung."""

    trial: int
    state: str  # COMPLETED · STOPPED · FAILED · CANCELLED
    reason: str
    time: float = 0.0


@dataclass(frozen=True)
class SearchClosed(Event):
    """No new search segment starts from here on."""

    reason: str  # "budget: …", "goal …", "stopped by the user"
    time: float = 0.0


@dataclass(frozen=True)
class ConfirmStarted(Event):
    """The search is over; these trials are trained on to share 1 on all rows."""

    trials: tuple[int, ...]
    rung: int  # the rung they were chosen at
    reason: str
    ahead: tuple[int, ...] = ()  # better trials that stand at a lower rung: named, not chosen
    time: float = 0.0


@dataclass(frozen=True)
class ConfirmResult(Event):
    """The winner: its best-validation checkpoint, and that one model's test values."""

    trial: int
    boundary: int
    share: float
    checkpoint: str | None
    val: Mapping[str, float]
    test: Mapping[str, float]
    how: str  # "resumed from share .16", "restarted", "already at share 1"
    time: float = 0.0


@dataclass(frozen=True)
class Tick(Event):
    """Driver-alive seconds so far; only logged where a time budget needs it."""

    alive_s: float


@dataclass(frozen=True)
class ReplayDivergence(Event):
    """Re-deriving a recorded decision gave another one."""

    seq: int
    expected: str
    derived: str


KINDS: Mapping[str, type[Event]] = MappingProxyType(
    {
        "driver_started": DriverStarted,
        "job_state": JobState,
        "command": Command,
        "slots_changed": SlotsChanged,
        "subset_ready": SubsetReady,
        "trial_proposed": TrialProposed,
        "segment_started": SegmentStarted,
        "passes": Passes,
        "guard": Guard,
        "decision": Decision,
        "segment_lost": SegmentLost,
        "segment_claimed": SegmentClaimed,
        "trial_ended": TrialEnded,
        "search_closed": SearchClosed,
        "confirm_started": ConfirmStarted,
        "confirm_result": ConfirmResult,
        "tick": Tick,
        "replay_divergence": ReplayDivergence,
    }
)
# What comes from outside; the events between two of these were decided on the first.
FACTS: frozenset[type[Event]] = frozenset(
    {
        DriverStarted, SubsetReady, Passes, SegmentLost, SegmentClaimed, SlotsChanged, Command,
        Tick,
    }
)  # fmt: skip
_NAME_OF = {cls: name for name, cls in KINDS.items()}


def encode(event: Event) -> tuple[str, str]:
    """The kind and the text of an event, as they are stored."""
    body = {**vars(event), "v": VERSION}
    try:
        text = _ENCODER.encode(body)
    except ValueError:  # something is not finite
        text = _ENCODER.encode(_tagged(body))
    return _NAME_OF[type(event)], text


def decode(kind: str, text: str) -> Event:
    """The event that a stored kind and text stand for.

    Raises:
        KeyError: the kind is not known to this version.
    """
    cls = KINDS[kind]
    body = (_REVIVING if '{"$":' in text else _PLAIN).decode(text)
    del body["v"]
    if cls is Passes:
        body["passes"] = tuple(_pass_stats(item) for item in body["passes"])
        body["cost"] = Cost(**body["cost"])
    elif cls is Decision:
        body["neighbours"] = tuple(Neighbour(**item) for item in body["neighbours"])
    elif cls is ConfirmStarted:
        body["trials"] = tuple(body["trials"])
        body["ahead"] = tuple(body["ahead"])
    return cls(**body)


def _pass_stats(body: dict[str, Any]) -> PassStats:
    for name in ("loss", "grad_norm"):
        if body[name] is not None:
            body[name] = Stat(**body[name])
    return PassStats(**body)


def _of_parts(value: Any) -> Any:
    """What json does not know: the frozen parts of an event, and read-only mappings."""
    if type(value) in _PARTS:
        return vars(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not part of any event")


def _tagged(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if type(value) in _PARTS or (isinstance(value, Mapping) and not isinstance(value, dict)):
        value = _of_parts(value)
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in value]
    return value


def _revive(body: dict[str, Any]) -> Any:
    return float(body["$"]) if body.keys() == {"$"} else body


_PARTS = frozenset({PassStats, Stat, Cost, Neighbour})
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_of_parts)
_PLAIN, _REVIVING = json.JSONDecoder(), json.JSONDecoder(object_hook=_revive)
