"""PostgreSQL through psycopg 3: the database of a service with many machines."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    ProgrammingError,
)

from automata_svc.database.backend import PING_AFTER_S, Backend, Verdict
from automata_svc.errors import Problem, SpecError

DRIVER = "postgresql+psycopg"
CONNECTIONS = 20  # guess: of one process; PostgreSQL takes 100 in all unless it is told otherwise
CONNECT_S = 5
SILENT_MS = 15_000  # a peer that acknowledges nothing for so long is gone
SCHEMA_LOCK = 0x6175746F  # "auto": any number that nobody else uses as an advisory lock


def _open(url: URL, busy_timeout_s: float) -> Engine:
    if url.drivername not in ("postgresql", DRIVER):
        said = f"'{url.drivername}' is not supported; write {DRIVER}://"
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said))
    try:
        engine = create_engine(
            url.set(drivername=DRIVER),
            connect_args={
                "connect_timeout": CONNECT_S,
                "keepalives_idle": 5,
                "keepalives_interval": 5,
                "keepalives_count": 2,
                "tcp_user_timeout": SILENT_MS,
                "application_name": "automata",
                "options": f"-c lock_timeout={max(1, round(busy_timeout_s * 1000))}"
                " -c idle_in_transaction_session_timeout=60000",
                **url.query,
            },
            # Made when first needed, and kept: to make one takes ten times as long as to use it.
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=busy_timeout_s,
            hide_parameters=True,
        )
    except ImportError:
        said = "PostgreSQL needs psycopg: pip install 'automata_svc[postgres]'"
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said)) from None
    _look_before_use(engine)
    return engine


def _look_before_use(engine: Engine) -> None:
    """A restart of the server is noticed before it matters, and costs no way to it and back.

    SQLAlchemy's own pre-ping asks the server each time, as long as most of our statements take.
    """

    @event.listens_for(engine, "checkin")
    def left(connection: Any, record: Any) -> None:
        record.info["left_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def look(connection: Any, record: Any, proxy: Any) -> None:
        left_at = record.info.get("left_at")
        if left_at is None:  # a new one
            return
        if time.monotonic() - left_at < PING_AFTER_S and not _has_news(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError() from error  # the others are no better; a new one is made


def _has_news(connection: Any) -> bool:
    """Whether a server that was asked nothing has sent something: mostly, that it hangs up."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _named(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    return f"{url.database or url.username} on {host}:{url.port or 5432}"


@contextmanager
def _durably(connection: Connection) -> Iterator[None]:
    yield  # every commit is, unless its administrator has turned synchronous_commit off


def _judge(error: DBAPIError) -> Verdict:
    state = getattr(error.orig, "sqlstate", None)
    if state in _CLASHES:
        return "clash"
    if state == "42501":  # insufficient privilege: a programming error to psycopg, not to us
        return "away"
    if isinstance(error, DataError):
        return "value"
    if isinstance(error, IntegrityError | ProgrammingError):
        return "mistake"
    return "away"


def _said(error: DBAPIError) -> str:
    """The server's first line, with what to do about it where we know."""
    said = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
    for part, more in _WORDS.items():
        if part in said:
            return f"{said} ({more})"
    return said


_CLASHES = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "password authentication failed": "the URL's user or password is wrong",
        "lock timeout": "another process has been writing for too long",
        "refused": "is it running there?",
        "does not exist": "it must be created first",
        "too many clients": "max_connections is too small for this many processes",
        "remaining connection slots": "max_connections is too small for this many processes",
        "read-only transaction": "it must be the primary, not a replica",
    }
)


def _lock_schema(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})


POSTGRESQL = Backend(
    open=_open,
    named=_named,
    reading=MappingProxyType({"isolation_level": "AUTOCOMMIT"}),
    now="extract(epoch from clock_timestamp())::double precision",
    durably=_durably,
    insert=insert,
    judge=_judge,
    said=_said,
    writes_at_once=True,
    one_writer=False,
    makes_itself=False,
    lock_schema=_lock_schema,
)
