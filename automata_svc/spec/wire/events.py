"""A job's log over the wire: pages of events, and the same as a stream.

As text/event-stream each event has `id:` (its number), `event:` (its kind) and `data:` (an Event as
JSON); a comment every 15 s shows that the stream lives; `event: end` (data: End) says that the job
is over and all was sent. A client that reconnects with Last-Event-ID gets what follows it, without
gaps or repeats.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from automata_svc.spec.wire.base import Answer, Time
from automata_svc.spec.wire.jobs import JobStateName

END = "end"
HEARTBEAT_S = 15.0
MAX_EVENTS = 5_000  # in one page
DEFAULT_EVENTS = 1_000

_EXAMPLE: dict[str, Any] = {
    "seq": 7,
    "at": "2026-01-31T12:00:05.25Z",
    "kind": "trial_proposed",
    "body": {"trial": 0, "params": {"lr": 0.012}, "seen": 3, "origin": "random", "v": 1},
}


class Event(Answer):
    """One stored fact. A number that is not finite is {"$": "nan"}, {"$": "inf"}, {"$": "-inf"}."""

    seq: Annotated[int, Field(ge=1, description="From 1, without gaps, within its job.")]
    at: Time
    kind: str
    body: dict[str, Any]

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})


class EventList(Answer):
    """Events in order."""

    events: tuple[Event, ...]
    next: Annotated[int, Field(ge=0, description="Give it as `after` to get what follows.")]
    end: Annotated[bool, Field(description="The job is over, and nothing follows.")] = False

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"events": [_EXAMPLE], "next": 7, "end": False}]},
    )


class End(Answer):
    """The last message of a stream."""

    state: JobStateName
    seq: int
