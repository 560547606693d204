"""What differs between databases: how one is opened, and how its clock is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from automata_svc.errors import Problem, SpecError, Unavailable, unknown

# 16 MB of write-ahead log. Measured: a fifth more appends a second than with SQLite's own 1,000.
CHECKPOINT_PAGES = 4_000


@dataclass(frozen=True)
class Backend:
    """One kind of database."""

    open: Callable[[URL, float], Engine]
    now: str  # SQL for unix seconds on the database's clock
    # around a transaction that must survive a power cut
    durably: Callable[[Connection], AbstractContextManager[None]]


def open_engine(url: str, busy_timeout_s: float) -> tuple[Engine, Backend]:
    """An engine; a transaction with the execution option `write` takes the write lock at once.

    Raises:
        SpecError: the URL cannot be read, or names no kind in BACKENDS.
        Unavailable: its folder cannot be made or used.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        said = f"'{url}' is no database URL, e.g. sqlite:////folder/automata.db"
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said)) from None
    kind = parsed.get_backend_name()
    backend = BACKENDS.get(kind)
    if backend is None:
        said = unknown("kind of database", kind, BACKENDS)
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said))
    return backend.open(parsed, busy_timeout_s), backend


# ---- SQLite -------------------------------------------------------------------------------------


def _open_sqlite(url: URL, busy_timeout_s: float) -> Engine:
    if not url.database or url.database == ":memory:":
        said = "a database in memory is lost with its process; name a file"
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said))
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = f"cannot make the folder of the database {path}: {error.strerror}"
        raise Unavailable(said) from None
    engine = create_engine(
        url, connect_args={"timeout": busy_timeout_s, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: sqlite3 would say it late
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        if connection.get_execution_options().get("write"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    _use_wal(engine, path, busy_timeout_s)
    return engine


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
                raise Unavailable(
                    f"cannot open the database {path}: {sqlite_words(error)}"
                ) from None
        time.sleep(0.02)


@contextmanager
def _sqlite_durably(connection: Connection) -> Iterator[None]:
    driver = connection.connection.cursor()  # beside SQLAlchemy, which would begin a transaction
    try:
        driver.execute("PRAGMA synchronous=FULL")
        yield
    finally:
        driver.execute("PRAGMA synchronous=NORMAL")
        driver.close()


def sqlite_words(error: DBAPIError) -> str:
    """SQLite's complaint, with what to do about it where we know."""
    said = str(error.orig)
    for part, more in _SQLITE_WORDS.items():
        if part in said:
            return f"{said} ({more})"
    return said


_SQLITE_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "unable to open": "the folder must exist and be writable",
        "readonly database": "the file and its folder must be writable",
        "not a database": "AUTOMATA_DATABASE_URL names some other file",
        "locked": "another process has been writing for too long",
        "disk is full": "make room and try again",
    }
)

BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        "sqlite": Backend(
            open=_open_sqlite,
            now="((julianday('now') - 2440587.5) * 86400.0)",
            durably=_sqlite_durably,
        ),
    }
)
