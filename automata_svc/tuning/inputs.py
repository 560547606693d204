"""What reaches the decider from outside. Runners, the command poll and the clock make these."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass

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
class SlotsSet(Input):
    slots: int


@dataclass(frozen=True)
class Asked(Input):
    """Ends a drive: "stop" the job too; "pause" and "halt" (nobody asked) leave it resumable."""

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
