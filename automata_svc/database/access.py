"""Connections and transactions of one opened database; nothing about jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, func, insert, literal_column, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.sql.expression import ClauseElement

from automata_svc.database import schema
from automata_svc.database.backends import open_engine, sqlite_words
from automata_svc.errors import Unavailable


class Access:
    """An engine whose tables are there and of our version, and the two kinds of transaction."""

    def __init__(self, url: str, busy_timeout_s: float) -> None:
        self._engine, self._backend = open_engine(url, busy_timeout_s)
        # unix seconds on the database's clock, as SQL
        self._now: ColumnElement[float] = literal_column(
            self._backend.now, schema.jobs.c.updated_at.type
        )
        self._append_lock = threading.Lock()
        # Kept open: to take one from the pool costs more than the write itself.
        self._append_connection: Connection | None = None
        try:
            self._make_tables()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with self._append_lock:
            if self._append_connection is not None:
                self._append_connection.close()
                self._append_connection = None
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """Each statement sees what is committed when it runs; waits for no writer."""
        with self._engine_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction that has the write lock from its first statement."""
        with (
            self._engine_errors(),
            self._engine.connect() as connection,
            self._write(connection),
        ):
            yield connection

    @contextmanager
    def _appending(self) -> Iterator[Connection]:
        """As `_writing`, on the connection that is kept for it; one thread at a time."""
        with self._append_lock, self._engine_errors():
            if self._append_connection is None or self._append_connection.closed:
                self._append_connection = self._engine.connect()
            with self._write(self._append_connection):
                yield self._append_connection

    @contextmanager
    def _write(self, connection: Connection) -> Iterator[None]:
        connection.execution_options(write=True)
        with connection.begin():
            yield

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError, ProgrammingError):
            raise  # our own mistake: trying again would not help
        except DBAPIError as error:
            said = sqlite_words(error)
            raise Unavailable(f"the database {self._engine.url.database}: {said}") from error

    def _make_tables(self) -> None:
        with self._writing() as connection:
            schema.metadata.create_all(connection)
            found = connection.execute(select(func.max(schema.schema.c.version))).scalar()
            if found is None:
                connection.execute(insert(schema.schema).values(version=schema.VERSION))
            elif found > schema.VERSION:
                raise Unavailable(
                    f"the database {self._engine.url.database} was made by a newer automata_svc "
                    f"(schema {found}; this one knows {schema.VERSION}). Upgrade, or name another "
                    "one in AUTOMATA_DATABASE_URL"
                )


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
