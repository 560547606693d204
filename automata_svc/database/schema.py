"""The tables. The event log is the truth; what else a job's rows show is written with events.

A change here is a new version and a new file in migrations/versions.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from automata_svc.database.words import Word, Words

VERSION = 4  # of the tables below; a database of a newer version is not touched

metadata = MetaData()

schema = Table(
    "automata_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)


def _seconds(name: str, nullable: bool = False) -> Column[float]:
    return Column(name, Float(53), nullable=nullable)  # unix seconds


jobs = Table(
    "jobs",
    metadata,
    Column("id", Word(64), primary_key=True),
    Column("name", Word(63), nullable=False),
    Column("project", Word(63), nullable=False),
    Column("state", Word(16), nullable=False),
    Column("seq", BigInteger, nullable=False),  # of the last event
    Column("token", BigInteger, nullable=False),  # fencing token
    Column("lease_owner", Words),
    _seconds("lease_expires_at", nullable=True),  # on the database's clock
    _seconds("created_at"),
    _seconds("updated_at"),
    Column("summary", Words, nullable=False),
    Column("driver", Word(16), nullable=False, server_default="cli"),
    Column("queue", Word(63), nullable=False, server_default="default"),
    Column("priority", Integer, nullable=False, server_default="50"),
    Column("labels", Words, nullable=False, server_default="{}"),  # JSON; also in `labels`
    Column("created_by", Word(64)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("driver_id", Words),
    _seconds("not_before", nullable=True),
    Column("waiting", Words),  # JSON {"for", "since"}
    Column("slots", Integer),
    Column("revision", Integer, nullable=False, server_default="1"),
    _seconds("ended_at", nullable=True),  # None: it is not over
    Index("jobs_by_time", "created_at", "id"),
    Index("jobs_by_name", "name", "created_at"),
    Index("jobs_by_project", "project", "created_at", "id"),
)
# What a controller looks through every second, however many jobs have ended.
Index(
    "jobs_not_over",
    jobs.c.created_at,
    jobs.c.id,
    sqlite_where=text("ended_at IS NULL"),
    postgresql_where=text("ended_at IS NULL"),
)

# Apart from the job's row, which every append writes anew, as a whole.
submissions = Table(
    "submissions",
    metadata,
    Column("job_id", Word(64), primary_key=True),
    Column("spec", Words, nullable=False),
    Column("plan", Words, nullable=False),
    Column("template", Words, nullable=False),
)

submission_keys = Table(
    "submission_keys",
    metadata,
    Column("project", Word(63), nullable=False),
    Column("key", Word(255), nullable=False),
    Column("fingerprint", Word(64), nullable=False),  # of what was submitted with it
    Column("job_id", Word(64), nullable=False),
    _seconds("expires_at", nullable=True),  # on the database's clock; None: goes with its job
    PrimaryKeyConstraint("project", "key"),
    Index("submission_keys_by_job", "job_id"),
    Index("submission_keys_by_end", "expires_at"),
)

labels = Table(
    "labels",
    metadata,
    Column("job_id", Word(64), nullable=False),
    Column("name", Word(255), nullable=False),
    Column("value", Words, nullable=False),
    PrimaryKeyConstraint("job_id", "name"),
    Index("labels_by_value", "name", "value", "job_id"),
)

# No foreign key: an event is inserted only beside an update that found its job.
events = Table(
    "events",
    metadata,
    Column("job_id", Word(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    _seconds("at"),
    Column("kind", Word(32), nullable=False),
    Column("body", Words, nullable=False),
    Column("trial", Integer),  # that it is about, if it is about one
    PrimaryKeyConstraint("job_id", "seq"),
)
Index(
    "events_by_trial",
    events.c.job_id,
    events.c.trial,
    events.c.seq,
    sqlite_where=text("trial IS NOT NULL"),
    postgresql_where=text("trial IS NOT NULL"),
)

# A projection: each trial as the last event about it has left it.
trials = Table(
    "trials",
    metadata,
    Column("job_id", Word(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Word(16), nullable=False),
    Column("reason", Words, nullable=False),
    Column("rung", Integer, nullable=False),
    Column("metric", Float(53)),
    Column("loss", Float(53)),
    Column("share", Float(53), nullable=False),
    Column("body", Words, nullable=False),
    PrimaryKeyConstraint("job_id", "number"),
    # Holds all that ranking asks for, so that bodies are read of one page only.
    Index("trials_by_rank", "job_id", "rung", "metric", "number", "state"),
)

# A projection: which subsets a job's trials are made of.
artefact_uses = Table(
    "artefact_uses",
    metadata,
    Column("job_id", Word(64), nullable=False),
    Column("key", Word(255), nullable=False),
    PrimaryKeyConstraint("job_id", "key"),
)

commands = Table(
    "commands",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("job_id", Word(64), nullable=False),
    Column("verb", Word(32), nullable=False),
    Column("body", Words, nullable=False),
    _seconds("created_at"),
    _seconds("taken_at", nullable=True),
    Index("commands_waiting", "job_id", "taken_at"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Word(64), primary_key=True),
    Column("hash", Word(64), nullable=False),
    Column("name", Word(63), nullable=False),
    Column("project", Word(63)),
    Column("scopes", Words, nullable=False),
    _seconds("created_at"),
    _seconds("expires_at", nullable=True),
    _seconds("revoked_at", nullable=True),
    _seconds("last_used_at", nullable=True),
    UniqueConstraint("hash", name="tokens_by_hash"),
)

bundles = Table(
    "bundles",
    metadata,
    Column("project", Word(63), nullable=False),
    Column("kind", Word(16), nullable=False),
    Column("name", Word(255), nullable=False),
    Column("sha256", Word(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("manifest", Words, nullable=False),
    _seconds("created_at"),
    Column("created_by", Word(64)),
    # Last pushed or named by a new job, on the database's clock. Apart from `bundle_uses`: who
    # takes bundles away sees by it that one was asked for at this very moment.
    _seconds("used_at"),
    PrimaryKeyConstraint("project", "kind", "name", "sha256"),
    Index("bundles_by_time", "project", "kind", "created_at"),
    Index("bundles_by_digest", "sha256"),
)

# Which stored jobs name which bundles: theirs stay.
bundle_uses = Table(
    "bundle_uses",
    metadata,
    Column("job_id", Word(64), nullable=False),
    Column("project", Word(63), nullable=False),
    Column("kind", Word(16), nullable=False),
    Column("name", Word(255), nullable=False),
    Column("sha256", Word(64), nullable=False),
    PrimaryKeyConstraint("job_id", "kind", "name", "sha256"),
    Index("bundle_uses_by_bundle", "project", "kind", "name", "sha256"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Word(64), primary_key=True),
    Column("project", Word(63), nullable=False),
    Column("kind", Word(16), nullable=False),
    Column("name", Word(255), nullable=False),
    Column("sha256", Word(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("parts", Words, nullable=False),
    _seconds("created_at"),
    _seconds("updated_at"),
    Index("uploads_by_age", "updated_at"),
)

# Held by one process at a time, whatever it does under that name.
named_leases = Table(
    "named_leases",
    metadata,
    Column("name", Word(63), primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("owner", Words),
    _seconds("expires_at", nullable=True),  # on the database's clock
)

# What was counted of jobs that are over, and is kept when they are deleted; see `jobs.totals`.
totals = Table(
    "totals",
    metadata,
    Column("name", Word(63), nullable=False),
    Column("labels", Word(255), nullable=False),  # JSON text of an object, its keys in order
    Column("value", Float(53), nullable=False),
    PrimaryKeyConstraint("name", "labels"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Word(128), primary_key=True),
    Column("job_id", Word(64), nullable=False),
    Column("project", Word(63), nullable=False),
    Column("url", Words, nullable=False),
    Column("event", Word(63), nullable=False),
    Column("body", Words, nullable=False),
    Column("attempts", Integer, nullable=False),
    _seconds("next_at"),
    Column("status", Word(16), nullable=False),
    Column("error", Words),
    _seconds("created_at"),
    _seconds("delivered_at", nullable=True),
    Index("deliveries_due", "status", "next_at"),
    Index("deliveries_by_job", "job_id", "created_at"),
    Index("deliveries_by_project", "project", "created_at", "id"),
)
