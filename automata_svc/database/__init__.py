"""Rows: jobs and their leases, the event log, its projections, and what a service keeps beside.

SQLAlchemy loads only when a database is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automata_svc.database.ids import new_job_id
from automata_svc.database.liveness import is_gone, this_process
from automata_svc.database.rows import (
    KEY_TTL_S,
    OVER,
    ArtefactUse,
    BundleRow,
    DeliveryRow,
    JobHead,
    LiveJob,
    StoredCommand,
    StoredEvent,
    StoredJob,
    TokenRow,
    Total,
    TrialRow,
    UploadRow,
)

if TYPE_CHECKING:
    from automata_svc.database.store import Database

__all__ = [
    "KEY_TTL_S",
    "OVER",
    "ArtefactUse",
    "BundleRow",
    "DeliveryRow",
    "JobHead",
    "LiveJob",
    "StoredCommand",
    "StoredEvent",
    "StoredJob",
    "TokenRow",
    "Total",
    "TrialRow",
    "UploadRow",
    "is_gone",
    "new_job_id",
    "open_database",
    "this_process",
]


def open_database(url: str, busy_timeout_s: float = 10.0) -> Database:
    """The database at an SQLAlchemy URL.

    One of SQLite is made where there is none, and brought up to date; one of PostgreSQL must have
    been (`automata db upgrade`).

    Args:
        url: "sqlite:////folder/automata.db"; the folder is made. Or
            "postgresql+psycopg://user:password@host:5432/name".
        busy_timeout_s: how long a write waits for another process's.

    Raises:
        SpecError: the URL is not one that we can use.
        Unavailable: it cannot be opened or written, or was made by a newer version.
    """
    from automata_svc.database.store import Database

    return Database(url, busy_timeout_s)
