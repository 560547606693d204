"""What the database hands out: frozen rows, texts as they were stored. Times are unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

# States that a job does not leave; `ended_at` is set with them.
OVER = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
# How long an idempotency key stands for what was submitted with it.
KEY_TTL_S = 86_400.0  # guess: whoever sends the same again after a day means a new job


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
    lease_expires_at: float | None  # on the database's clock
    is_leased: bool  # a lease was live on the database's clock when this row was read
    created_at: float
    updated_at: float
    summary: str  # JSON text, written with the last events
    driver: str  # who runs it: cli, service, external
    queue: str
    priority: int
    labels: str  # JSON text of an object
    created_by: str | None  # a token's id; None: this machine's own user
    attempt: int  # of the service to drive it
    driver_id: str | None  # of that attempt, in Ray
    not_before: float | None  # after a failed attempt: when the next one may start
    waiting: str | None  # JSON text {"for", "since"}: why it does not run
    slots: int | None  # granted; None: all that are free
    revision: int  # of what people may change of it
    ended_at: float | None  # None: it is not over


@dataclass(frozen=True)
class StoredJob(JobHead):
    """A job with what it was submitted with."""

    spec: str  # the job file with its defaults
    plan: str  # JSON text
    template: str  # the source that every trial runs


class StoredEvent(NamedTuple):
    """One row of the log."""

    seq: int  # from 1, without gaps, within its job
    at: float  # of the append
    kind: str
    body: str


class StoredCommand(NamedTuple):
    """Something a user asked of a running job."""

    id: int
    verb: str
    body: str
    created_at: float


class TrialRow(NamedTuple):
    """A trial as the last event about it has left it."""

    number: int
    state: str
    reason: str
    rung: int
    metric: float | None  # finite; None: no value yet
    loss: float | None
    share: float
    body: str  # JSON text, what is shown of it


class ArtefactUse(NamedTuple):
    """A job that trains on a stored subset."""

    key: str
    job_id: str
    project: str


@dataclass(frozen=True)
class TokenRow:
    """A bearer token, without its secret."""

    id: str
    hash: str  # of the secret
    name: str
    project: str | None  # None: every project
    scopes: str  # names with a space between
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


@dataclass(frozen=True)
class BundleRow:
    """Something that was pushed; its bytes lie in the store."""

    project: str
    kind: str  # template, dataset, code
    name: str
    sha256: str
    size: int  # bytes
    manifest: str  # JSON text
    created_at: float
    created_by: str | None  # a token's id


@dataclass(frozen=True)
class UploadRow:
    """A push under way."""

    id: str
    project: str
    kind: str
    name: str
    sha256: str
    size: int  # bytes
    received: int  # bytes
    parts: str  # JSON text
    created_at: float
    updated_at: float


@dataclass(frozen=True)
class DeliveryRow:
    """A webhook that was sent, or is to be."""

    id: str
    job_id: str
    project: str
    url: str
    event: str
    body: str
    attempts: int
    next_at: float
    status: str  # waiting, delivered, dead
    error: str | None  # how the last attempt failed
    created_at: float
    delivered_at: float | None


class Total(NamedTuple):
    """A number that only grows; the same labels, whatever their order, are the same one."""

    name: str
    labels: Mapping[str, str]
    value: float


class LiveJob(NamedTuple):
    """What is counted of a job that is not over."""

    id: str
    project: str
    queue: str
    state: str
    created_at: float
    summary: str
    is_leased: bool  # somebody is at work on it
