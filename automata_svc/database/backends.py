"""The kinds of databases, by their name in a URL."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from automata_svc.database.backend import Backend
from automata_svc.database.postgresql import POSTGRESQL
from automata_svc.database.sqlite import SQLITE
from automata_svc.errors import Problem, SpecError, unknown

BACKENDS: Mapping[str, Backend] = MappingProxyType({"sqlite": SQLITE, "postgresql": POSTGRESQL})


def open_engine(url: str, busy_timeout_s: float) -> tuple[Engine, Backend]:
    """An engine; a transaction with the execution option `write` takes its locks at once.

    Raises:
        SpecError: the URL cannot be read, or names no kind in BACKENDS.
        Unavailable: what it names cannot be made or used.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        said = "that is no database URL; one is e.g. sqlite:////folder/automata.db"
        if "@" not in url:  # else it may hold a password
            said = f"'{url}' is no database URL, e.g. sqlite:////folder/automata.db"
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said)) from None
    kind = parsed.get_backend_name()
    backend = BACKENDS.get(kind)
    if backend is None:
        said = unknown("kind of database", kind, BACKENDS)
        raise SpecError(Problem("AUTOMATA_DATABASE_URL", said))
    return backend.open(parsed, busy_timeout_s), backend
