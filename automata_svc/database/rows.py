"""What the database hands out: frozen rows, texts as they were stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class JobHead:
    """A job without its texts: what lists show."""

    id: str
    name: str
    project: str
    state: str
    seq: int  # of its last event; 0: none yet
    token: int  # fencing token: goes up with each lease that is taken or given back
    lease_owner: str | None  # "host:pid:start"
    lease_expires_at: float | None  # unix seconds on the database's clock
    is_leased: bool  # a lease was live on the database's clock when this row was read
    created_at: float  # unix seconds
    updated_at: float
    summary: str  # JSON text, written with the last events


@dataclass(frozen=True)
class StoredJob(JobHead):
    """A job with what it was submitted with."""

    spec: str  # the job file with its defaults
    plan: str  # JSON text
    template: str  # the source that every trial runs


class StoredEvent(NamedTuple):
    """One row of the log."""

    seq: int  # from 1, without gaps, within its job
    at: float  # unix seconds of the append
    kind: str
    body: str


class StoredCommand(NamedTuple):
    """Something a user asked of a running job."""

    id: int
    verb: str
    body: str
    created_at: float
