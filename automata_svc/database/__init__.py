"""Rows: jobs and their leases, the event log, user commands. SQLAlchemy loads only when opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automata_svc.database.ids import new_job_id
from automata_svc.database.liveness import is_gone, this_process
from automata_svc.database.rows import JobHead, StoredCommand, StoredEvent, StoredJob

if TYPE_CHECKING:
    from automata_svc.database.store import Database

__all__ = [
    "JobHead",
    "StoredCommand",
    "StoredEvent",
    "StoredJob",
    "is_gone",
    "new_job_id",
    "open_database",
    "this_process",
]


def open_database(url: str, busy_timeout_s: float = 10.0) -> Database:
    """The database at an SQLAlchemy URL, its tables made where there are none.

    Args:
        url: "sqlite:////folder/automata.db"; the folder is made.
        busy_timeout_s: how long a write waits for another process's.

    Raises:
        SpecError: the URL is not one that we can use.
        Unavailable: it cannot be opened or written, or was made by a newer version.
    """
    from automata_svc.database.store import Database

    return Database(url, busy_timeout_s)
