"""Which version a database's tables are of, and how they come to be of ours.

The number in `automata_schema` is what is looked at when a database is opened; Alembic, which is
slow to load, is asked only where something must change. Revision "0002" makes version 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, func, insert, inspect, select, text

from automata_svc.database import schema
from automata_svc.database.backend import Backend
from automata_svc.database.backends import open_engine
from automata_svc.database.failures import engine_errors
from automata_svc.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
UPGRADE = "automata db upgrade"
# Alembic's own, made by us where it is not loaded.
ALEMBIC_TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def revision_of(version: int) -> str:
    """Alembic's name for a version."""
    return f"{version:04}"


def version_of(connection: Connection) -> int | None:
    """The version of the tables; None where there are none of ours."""
    if not inspect(connection).has_table(schema.schema.name):
        return None
    found = connection.execute(select(func.max(schema.schema.c.version))).scalar()
    return None if found is None else int(found)


def require_version(engine: Engine, backend: Backend) -> None:
    """Sees to it that the tables are there and of our version.

    Raises:
        Unavailable: they are of a newer version; or of an older one, or not there, where that is
            not for whoever opens it to change.
    """
    with engine.connect() as connection:
        found = version_of(connection)
    if found == schema.VERSION:
        return
    named = backend.named(engine.url)
    if backend.makes_itself or (found is not None and found > schema.VERSION):
        upgrade(engine, backend)
    elif found is None:
        raise Unavailable(f"the database {named} has no tables of ours yet; run `{UPGRADE}`")
    else:
        raise Unavailable(
            f"the database {named} is of an older automata_svc (schema {found}; this one needs "
            f"{schema.VERSION}). Stop what uses it, keep a backup, and run `{UPGRADE}`"
        )


def upgrade(engine: Engine, backend: Backend) -> tuple[int | None, int]:
    """Makes the tables, or brings them up to date, in one transaction; the version before, and now.

    Raises:
        Unavailable: they are of a newer version.
    """
    with engine.connect() as connection:
        connection.execution_options(write=True)
        with connection.begin():
            backend.lock_schema(connection)
            found = version_of(connection)  # again: somebody else may have been quicker
            if found is not None and found > schema.VERSION:
                raise Unavailable(
                    f"the database {backend.named(engine.url)} was made by a newer automata_svc "
                    f"(schema {found}; this one knows {schema.VERSION}). Upgrade, or name another "
                    "one in AUTOMATA_DATABASE_URL"
                )
            if found is None and backend.makes_itself:
                _make(connection)
            elif found != schema.VERSION:
                _migrate(connection, found)
    return found, schema.VERSION


def _make(connection: Connection) -> None:
    schema.metadata.create_all(connection)
    connection.execute(insert(schema.schema).values(version=schema.VERSION))
    connection.execute(text(ALEMBIC_TABLE))
    stamp(connection, schema.VERSION)


def stamp(connection: Connection, version: int) -> None:
    """Says in Alembic's table that the tables are of a version."""
    statement = text("INSERT INTO alembic_version (version_num) VALUES (:revision)")
    connection.execute(statement, {"revision": revision_of(version)})


def _migrate(connection: Connection, found: int | None) -> None:
    from alembic import command

    if found is not None and not inspect(connection).has_table("alembic_version"):
        connection.execute(text(ALEMBIC_TABLE))  # made before there were migrations
        stamp(connection, found)
    command.upgrade(_config(connection), revision_of(schema.VERSION))


def differences(connection: Connection) -> list[Any]:
    """What Alembic would have to do to make the tables those of `schema`; nothing, if all is well.

    One entry a step, each a tuple that begins with its name, e.g. ("add_column", …).
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, schema.metadata))


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


# ---- for the command line -----------------------------------------------------------------------


def upgrade_database(url: str) -> tuple[int | None, int]:
    """Makes the tables of the database at `url`, or brings them up to date: `automata db upgrade`.

    Returns:
        Their version before (None: there were none) and now.

    Raises:
        SpecError: the URL is not one that we can use.
        Unavailable: the database is away, or of a newer version.
    """
    with _opened(url) as (engine, backend):
        return upgrade(engine, backend)


def check_database(url: str) -> tuple[int | None, list[str]]:
    """The version of the tables at `url`, and how they differ from ours: `automata db check`.

    Raises:
        As `upgrade_database`.
    """
    with _opened(url) as (engine, _), engine.connect() as connection:
        found = version_of(connection)
        if found is None:
            return None, []
        return found, [_said(step) for step in differences(connection)]


@contextmanager
def _opened(url: str) -> Iterator[tuple[Engine, Backend]]:
    engine, backend = open_engine(url, busy_timeout_s=10.0)
    try:
        with engine_errors(backend, backend.named(engine.url)):
            yield engine, backend
    finally:
        engine.dispose()


def _said(step: Any) -> str:
    """One step of Alembic's in words."""
    if isinstance(step, list):  # changes of one column come together
        return "; ".join(map(_said, step))
    name, *what = step
    return f"{name} {' '.join(str(getattr(one, 'name', one)) for one in what if one is not None)}"
