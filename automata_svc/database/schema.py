"""The tables. The event log is the truth; what else a job's row shows is written with events."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

VERSION = 1  # of the tables below; a database of a newer version is not touched

metadata = MetaData()

schema = Table("automata_schema", metadata, Column("version", Integer, primary_key=True))

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("project", String(63), nullable=False),
    Column("state", String(16), nullable=False),
    Column("seq", BigInteger, nullable=False),  # of the last event
    Column("token", BigInteger, nullable=False),  # fencing token
    Column("lease_owner", Text),
    Column("lease_expires_at", Float(53)),  # unix seconds on the database's clock
    Column("created_at", Float(53), nullable=False),
    Column("updated_at", Float(53), nullable=False),
    Column("summary", Text, nullable=False),
    Index("jobs_by_time", "created_at", "id"),
    Index("jobs_by_name", "name", "created_at"),
)

# Apart from the job's row, which every append writes anew, as a whole.
submissions = Table(
    "submissions",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("template", Text, nullable=False),
)

# No foreign key: an event is inserted only beside an update that found its job.
events = Table(
    "events",
    metadata,
    Column("job_id", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("job_id", "seq"),
)

commands = Table(
    "commands",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("verb", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("taken_at", Float(53)),
    Index("commands_waiting", "job_id", "taken_at"),
)
