"""Pushes under way: how much of each has arrived."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import delete, insert, select, update

from automata_svc.database import schema
from automata_svc.database.access import Access
from automata_svc.database.failures import repeated
from automata_svc.database.rows import UploadRow
from automata_svc.errors import Conflict, NotFound, Stale

uploads = schema.uploads


class Uploads(Access):
    """Rows of the table uploads."""

    @repeated
    def create_upload(self, row: UploadRow) -> None:
        """Stores an upload.

        Raises:
            Conflict: its id is there.
        """
        with self._writing() as connection:
            if connection.execute(select(uploads.c.id).where(uploads.c.id == row.id)).first():
                raise Conflict(f"upload {row.id} exists already")
            connection.execute(insert(uploads).values(asdict(row)))

    def get_upload(self, id: str) -> UploadRow:
        """One upload.

        Raises:
            NotFound: no such upload; it may be finished.
        """
        with self._read() as connection:
            row = connection.execute(select(*_COLUMNS).where(uploads.c.id == id)).first()
        if row is None:
            raise NotFound(f"no upload '{id}' is under way; it is finished, or was given up")
        return UploadRow(**row._mapping)

    @repeated
    def advance_upload(
        self,
        id: str,
        expect_received: int,
        received: int,
        *,
        parts: str | None = None,
        at: float | None = None,
    ) -> None:
        """Notes that more has arrived.

        Args:
            expect_received: bytes before that, as the writer knows them.
            received: bytes now.
            parts: the new list; None leaves it.
            at: unix seconds; None: now, on the database's clock.

        Raises:
            NotFound: no such upload.
            Stale: another number of bytes has arrived.
        """
        values: dict[str, Any] = {
            "received": received,
            "updated_at": self._now if at is None else at,
        }
        if parts is not None:
            values["parts"] = parts
        mine = (uploads.c.id == id) & (uploads.c.received == expect_received)
        with self._writing() as connection:
            statement = update(uploads).where(mine).values(**values).returning(uploads.c.id)
            if connection.execute(statement).first() is None:
                query = select(uploads.c.received).where(uploads.c.id == id)
                found = connection.execute(query).scalar()
                if found is None:
                    raise NotFound(f"no upload '{id}' is under way; it is finished, or given up")
                raise Stale(f"upload {id} is at byte {found}, not {expect_received}")

    @repeated
    def finish_upload(self, id: str) -> None:
        """Forgets an upload, finished or given up; one that is gone stays so."""
        with self._writing() as connection:
            connection.execute(delete(uploads).where(uploads.c.id == id))

    def list_stale_uploads(self, before: float) -> list[UploadRow]:
        """Those of which nothing has arrived since `before`, the oldest first."""
        query = select(*_COLUMNS).where(uploads.c.updated_at < before)
        with self._read() as connection:
            rows = connection.execute(query.order_by(uploads.c.updated_at, uploads.c.id))
            return [UploadRow(**row._mapping) for row in rows]


_COLUMNS = tuple(uploads.c[field.name] for field in fields(UploadRow))
