"""SQLite: a file for one machine, in WAL mode; one writer at a time, readers beside it."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from automata_svc.database.backend import Backend, Verdict
from automata_svc.errors import Problem, SpecError, Unavailable

# 16 MB of write-ahead log. Measured: a fifth more appends a second than with SQLite's own 1,000.
CHECKPOINT_PAGES = 4_000
# Measured, submissions beside a driver that stores all the time: p99 .1 s instead of 1.3 s.
WRITE_POLL_S = (0.0005, 0.0015)
CONNECTIONS = 40  # guess: as many as a server has threads


def _open(url: URL, busy_timeout_s: float) -> Engine:
    if not url.database or url.database == ":memory:":
        said = "a database in memory is lost with its process; name a file"
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said))
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        said = f"cannot make the folder of the database {path}: {error.strerror}"
        raise Unavailable(said) from None
    engine = create_engine(
        url,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        pool_size=5,
        max_overflow=CONNECTIONS - 5,
        pool_timeout=busy_timeout_s,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: sqlite3 would say it late
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        if connection.get_execution_options().get("write"):
            _begin(connection, busy_timeout_s)

    _use_wal(engine, path, busy_timeout_s)
    return engine


def _begin(connection: Connection, busy_timeout_s: float) -> None:
    """Takes the write lock. SQLite itself would ask for it again at pauses of up to 100 ms, and
    come too late again and again beside a process that writes all the time."""
    driver: Any = connection.connection.driver_connection
    limit = time.monotonic() + busy_timeout_s
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > limit:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")  # for an error like any other
                    return
            time.sleep(random.uniform(*WRITE_POLL_S))
    finally:
        driver.execute(f"PRAGMA busy_timeout = {round(busy_timeout_s * 1000)}")


def _use_wal(engine: Engine, path: Path, busy_timeout_s: float) -> None:
    """Readers and one writer side by side. The file remembers it, so this changes it once."""
    limit = time.monotonic() + busy_timeout_s
    while True:
        try:
            with engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
                if mode != "wal":
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            return
        except DBAPIError as error:
            # Two processes that both make the file: SQLite's own waiting does not cover this step.
            if "locked" not in str(error.orig) or time.monotonic() > limit:
                engine.dispose()
                raise Unavailable(f"cannot open the database {path}: {_said(error)}") from None
        time.sleep(0.02)


@contextmanager
def _durably(connection: Connection) -> Iterator[None]:
    driver = connection.connection.cursor()  # beside SQLAlchemy, which would begin a transaction
    try:
        driver.execute("PRAGMA synchronous=FULL")
        yield
    finally:
        driver.execute("PRAGMA synchronous=NORMAL")
        driver.close()


def _judge(error: DBAPIError) -> Verdict:
    if isinstance(error, DataError):
        return "value"
    if isinstance(error, IntegrityError | ProgrammingError):
        return "mistake"
    return "away"


def _said(error: DBAPIError) -> str:
    """SQLite's complaint, with what to do about it where we know."""
    said = str(error.orig)
    for part, more in _WORDS.items():
        if part in said:
            return f"{said} ({more})"
    return said


_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "unable to open": "the folder must exist and be writable",
        "readonly database": "the file and its folder must be writable",
        "not a database": "AUTOMATA_DATABASE_URL names some other file",
        "locked": "another process has been writing for too long",
        "disk is full": "make room and try again",
    }
)

SQLITE = Backend(
    open=_open,
    named=lambda url: str(url.database),
    reading=MappingProxyType({}),  # without BEGIN each statement stands for itself
    now="((julianday('now') - 2440587.5) * 86400.0)",
    durably=_durably,
    insert=insert,
    judge=_judge,
    said=_said,
    writes_at_once=False,
    one_writer=True,
    makes_itself=True,
    lock_schema=lambda connection: None,  # BEGIN IMMEDIATE has locked the whole file
)
