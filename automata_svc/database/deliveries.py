"""Webhooks that were sent, wait to be sent, or were given up."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, select, update

from automata_svc.database import schema
from automata_svc.database.failures import repeated
from automata_svc.database.rows import DeliveryRow, Total
from automata_svc.database.totals import Totals
from automata_svc.database.words import storable
from automata_svc.errors import Conflict, NotFound

deliveries = schema.deliveries


class Deliveries(Totals):
    """Rows of the table deliveries."""

    @repeated
    def add_delivery(self, row: DeliveryRow) -> None:
        """Stores a delivery; one whose id is there is left as it is."""
        with self._writing() as connection:
            self._deliver(connection, row)

    def due_deliveries(self, now: float, limit: int) -> list[DeliveryRow]:
        """Those that wait and whose time has come: the least often tried first, of them the longest
        waiting. So what is new does not wait behind all that a receiver that is down has failed."""
        due = (deliveries.c.status == "waiting") & (deliveries.c.next_at <= now)
        query = select(*_COLUMNS).where(due)
        first = deliveries.c.attempts, deliveries.c.next_at, deliveries.c.id
        query = query.order_by(*first).limit(limit)
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
            if values.get("status") in _RESULTS:
                said = {"result": values["status"]}
                self._add(connection, [Total("webhook_deliveries", said, 1.0)])

    @repeated
    def revive_delivery(self, job_id: str, id: str, at: float) -> DeliveryRow:
        """Has a delivery that was given up tried again from `at` on, as if it were new.

        One that waits already is left alone.

        Raises:
            NotFound: the job has no such delivery.
            Conflict: it has arrived.
        """
        mine = (deliveries.c.job_id == job_id) & (deliveries.c.id == id)
        again = update(deliveries).where(mine, deliveries.c.status == "dead")
        again = again.values(status="waiting", attempts=0, next_at=at)
        with self._writing() as connection:
            row = connection.execute(again.returning(*_COLUMNS)).first()
            if row is None:
                row = connection.execute(select(*_COLUMNS).where(mine)).first()
        if row is None:
            raise NotFound(f"job {job_id} has no delivery '{id}'")
        if row.status == "delivered":
            raise Conflict(f"delivery {id} has arrived; only what was given up is sent again")
        return DeliveryRow(**row._mapping)

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


_RESULTS = frozenset({"delivered", "dead"})  # what a delivery may come to
_COLUMNS = tuple(deliveries.c[field.name] for field in fields(DeliveryRow))
