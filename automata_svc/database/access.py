"""Connections and transactions of one opened database; nothing about jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import ClauseElement

from automata_svc.database import schema
from automata_svc.database.backend import PING_AFTER_S
from automata_svc.database.backends import open_engine
from automata_svc.database.failures import engine_errors
from automata_svc.database.upgrade import require_version


class Access:
    """An engine whose tables are there and of our version, and the two kinds of transaction."""

    def __init__(self, url: str, busy_timeout_s: float = 10.0) -> None:
        self._engine, self._backend = open_engine(url, busy_timeout_s)
        self._name = self._backend.named(self._engine.url)
        self._reader = self._engine.execution_options(**self._backend.reading)
        # unix seconds on the database's clock, as SQL
        self._now: ColumnElement[float] = literal_column(
            self._backend.now, schema.jobs.c.updated_at.type
        )
        self._write_lock = threading.Lock() if self._backend.one_writer else None
        self._append_lock = threading.Lock()
        # Kept open: to take one from the pool costs more than the write itself.
        self._append_connection: Connection | None = None
        self._appended_at = 0.0
        self.on_append: Callable[[float], None] = lambda seconds: None  # told what each has taken
        try:
            with self._engine_errors():
                require_version(self._engine, self._backend)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with self._append_lock:
            self._drop_append_connection()
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def ping(self) -> None:
        """Asks the database for something trivial.

        Raises:
            Unavailable: it does not answer.
        """
        with self._read() as connection:
            connection.execute(select(1))

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """Each statement sees what is committed when it runs; waits for no writer."""
        with self._engine_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction; on SQLite it has the write lock from its first statement."""
        with (
            self._engine_errors(),
            self._engine.connect() as connection,
            self._write(connection),
        ):
            yield connection

    @contextmanager
    def _appending(self, alone: bool) -> Iterator[Connection]:
        """As `_writing`, on the connection that is kept for it; one thread at a time.

        Args:
            alone: nothing but an append is written. Where that is one statement, there is no
                transaction around it, which would be two more ways to the server and back.
        """
        if self._backend.writes_at_once and not alone:
            with self._writing() as connection:
                yield connection
            return
        with self._append_lock, self._engine_errors():
            connection = self._kept()
            try:
                with self._write(connection):
                    yield connection
            except BaseException:
                self._drop_append_connection()
                raise
            self._appended_at = time.monotonic()

    def _kept(self) -> Connection:
        if self._append_connection is not None:
            if time.monotonic() - self._appended_at < PING_AFTER_S:
                return self._append_connection
            self._drop_append_connection()  # back to the pool, which looks whether it is alive
        # On PostgreSQL what is good enough for reading: each statement is committed by itself.
        engine = self._reader if self._backend.writes_at_once else self._engine
        self._append_connection = engine.connect()
        return self._append_connection

    def _drop_append_connection(self) -> None:
        if self._append_connection is not None:
            with suppress(DBAPIError):
                self._append_connection.close()
            self._append_connection = None

    @contextmanager
    def _write(self, connection: Connection) -> Iterator[None]:
        connection.execution_options(write=True)
        with self._write_lock or nullcontext(), connection.begin():
            yield

    def _engine_errors(self) -> AbstractContextManager[None]:
        return engine_errors(self._backend, self._name)

    def _clock(self, connection: Connection) -> float:
        return float(connection.execute(select(self._now)).scalar_one())

    def _prepared(self, statement: ClauseElement) -> Prepared:
        return Prepared(statement, self._engine.dialect)


class Prepared:
    """A statement compiled once: what is left per run is the driver's own work."""

    def __init__(self, statement: ClauseElement, dialect: Any) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._order = tuple(compiled.positiontup) if compiled.positional else None
        self._constant = {k: v for k, v in compiled.params.items() if v is not None}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        return connection.exec_driver_sql(self._text, self._bind(values))

    def run_many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        connection.exec_driver_sql(self._text, [self._bind(row) for row in rows])

    def _bind(self, values: Mapping[str, Any]) -> Any:
        if self._constant:
            values = {**self._constant, **values}
        return dict(values) if self._order is None else tuple(values[name] for name in self._order)
