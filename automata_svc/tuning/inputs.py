"""What reaches the decider from outside. Runners, the command poll and the clock make these."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from automata_svc.errors import Damaged, NotFound, Unavailable
from automata_svc.trials.errors import CheckpointMismatch
from automata_svc.trials.types import Report, SegmentOrder


@dataclass(frozen=True)
class Input:
    """One thing that happened; `time` is unix seconds, read once by the engine's clock."""


@dataclass(frozen=True)
class DriverStart(Input):
    """A driver took over (the first one, or the next after a crash or a pause)."""

    versions: Mapping[str, str]
    template_sha: str
    slots: int
    runner: str


@dataclass(frozen=True)
class SubsetBuilt(Input):
    """The strategy's model-free part is in the blob store (or it has none)."""

    artefact: str | None
    hit: bool
    seconds: float
    forward_rows: int = 0
    note: str = ""


@dataclass(frozen=True)
class Reported(Input):
    report: Report


STORAGE = "storage"  # why a segment failed: the job is paused, since every trial would


@dataclass(frozen=True)
class SegmentFailed(Input):
    """A segment ended without its last report. `retry`: whether running it again may help."""

    trial: int
    segment: int
    reason: str
    detail: str
    retry: bool


@dataclass(frozen=True)
class Claimed(Input):
    """A client takes a segment that nobody has (None: the first such), or shows it lives."""

    client: str
    trial: int | None = None


@dataclass(frozen=True)
class SlotsSet(Input):
    slots: int


# Every state that a job does not stay in for good.
_LIVE = frozenset({"QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING"})
_DRIVEN = frozenset({"QUEUED", "STARTING", "RUNNING"})

# verb → states it applies to, the state it leads to, and the reason where none is given. In any
# other state it is recorded and changes nothing.
VERBS: Mapping[str, tuple[frozenset[str], str, str]] = MappingProxyType(
    {
        "stop": (_LIVE, "CANCELLED", "stopped by the user"),
        "pause": (_DRIVEN, "PAUSED", "paused by the user"),
        "resume": (frozenset({"PAUSED"}), "QUEUED", "resumed by the user"),
        # Nobody's wish: "halt" where the store takes nothing, the others by a service's controller.
        "halt": (_DRIVEN, "PAUSED", "paused: it cannot go on now"),
        "start": (frozenset({"QUEUED"}), "STARTING", "a driver starts"),
        "requeue": (_LIVE, "QUEUED", "its driver ended"),  # by a fault, which counts
        "recycle": (_LIVE, "QUEUED", "its driver made room for the next"),  # as it should
        "fail": (_LIVE, "FAILED", "its drivers get no further"),
    }
)


@dataclass(frozen=True)
class Asked(Input):
    """One of VERBS: a user's command, or a controller's step. Ends a drive, if there is one."""

    verb: str
    reason: str = ""


@dataclass(frozen=True)
class Ticked(Input):
    """Driver-alive seconds passed since the last tick."""

    seconds: float


def template_failed(order: SegmentOrder, error: BaseException) -> SegmentFailed:
    """A template's exception: its own traceback, and no retry, since it would raise again."""
    if isinstance(error, Unavailable):  # the store is full or away: no trial's fault
        return SegmentFailed(order.trial, order.segment, STORAGE, str(error), retry=True)
    reason = "checkpoint" if isinstance(error, CheckpointMismatch | Damaged | NotFound) else "error"
    detail = "".join(traceback.format_exception(error)).strip()
    return SegmentFailed(order.trial, order.segment, reason, detail, retry=False)
