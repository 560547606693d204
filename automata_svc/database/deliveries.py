"""Webhooks that were sent, wait to be sent, or were given up."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, select, update

from automata_svc.database import schema
from automata_svc.database.access import Access
from automata_svc.database.failures import repeated
from automata_svc.database.rows import DeliveryRow
from automata_svc.database.words import storable
from automata_svc.errors import NotFound

deliveries = schema.deliveries


class Deliveries(Access):
    """Rows of the table deliveries."""

    @repeated
    def add_delivery(self, row: DeliveryRow) -> None:
        """Stores a delivery; one whose id is there is left as it is."""
        with self._writing() as connection:
            self._deliver(connection, row)

    def due_deliveries(self, now: float, limit: int) -> list[DeliveryRow]:
        """Those that wait and whose time has come, the longest waiting first."""
        due = (deliveries.c.status == "waiting") & (deliveries.c.next_at <= now)
        query = select(*_COLUMNS).where(due)
        query = query.order_by(deliveries.c.next_at, deliveries.c.id).limit(limit)
        with self._read() as connection:
            return [DeliveryRow(**row._mapping) for row in connection.execute(query)]

    @repeated
    def update_delivery(self, id: str, **values: Any) -> None:
        """Writes some fields of a delivery.

        Raises:
            NotFound: no such delivery; its job may be deleted.
        """
        if isinstance(values.get("error"), str):
            values["error"] = storable(values["error"])
        with self._writing() as connection:
            statement = update(deliveries).where(deliveries.c.id == id).values(**values)
            if connection.execute(statement.returning(deliveries.c.id)).first() is None:
                raise NotFound(f"no delivery '{id}' is stored here")

    def list_deliveries(
        self,
        project: str | None = None,
        job_id: str | None = None,
        limit: int | None = None,
        before: tuple[float, str] | None = None,
    ) -> list[DeliveryRow]:
        """Deliveries, the newest first; `before` is (created_at, id) of the page before's last."""
        query = select(*_COLUMNS)
        if project is not None:
            query = query.where(deliveries.c.project == project)
        if job_id is not None:
            query = query.where(deliveries.c.job_id == job_id)
        if before is not None:
            at, last = before
            same = (deliveries.c.created_at == at) & (deliveries.c.id < last)
            query = query.where((deliveries.c.created_at < at) | same)
        newest = deliveries.c.created_at.desc(), deliveries.c.id.desc()
        with self._read() as connection:
            rows = connection.execute(query.order_by(*newest).limit(limit))
            return [DeliveryRow(**row._mapping) for row in rows]

    def _deliver(self, connection: Connection, row: DeliveryRow) -> None:
        insert = self._backend.insert(deliveries).values(asdict(row))
        connection.execute(insert.on_conflict_do_nothing())


_COLUMNS = tuple(deliveries.c[field.name] for field in fields(DeliveryRow))
