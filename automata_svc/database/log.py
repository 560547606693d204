"""The event log: what is appended under a lease's token, and what is written along with it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, func, insert, select, update

from automata_svc.database import schema
from automata_svc.database.access import Prepared
from automata_svc.database.appending import at_once, columns
from automata_svc.database.commands import Commands
from automata_svc.database.deliveries import Deliveries
from automata_svc.database.failures import repeated
from automata_svc.database.leases import Leases
from automata_svc.database.rows import OVER, DeliveryRow, StoredEvent, Total, TrialRow
from automata_svc.database.trials import Trials, shown
from automata_svc.errors import Damaged, LeaseLost

CHUNK = 5_000  # events read at a time: a long reader must not hold the write-ahead log back

jobs, events = schema.jobs, schema.events

Item = tuple[str, str] | tuple[str, str, int | None]  # kind, body, trial that it is about


class Log(Leases, Trials, Commands, Deliveries):
    """Rows of the table events."""

    @repeated
    def append(
        self,
        job_id: str,
        token: int,
        batch: Sequence[Item],
        at: float,
        state: str | None = None,
        summary: str | None = None,
        commands: Sequence[int] = (),
        *,
        trials: Sequence[TrialRow] = (),
        artefacts: Sequence[str] = (),
        deliveries: Sequence[DeliveryRow] = (),
        totals: Sequence[Total] = (),
        first_seq: int | None = None,
    ) -> int:
        """Stores events in order, and what goes with them, in one transaction: all or nothing.

        Args:
            batch: (kind, body) or (kind, body, trial) of each event; may be empty where only the
                rest is to be written. Without a trial it is the one that the body begins with.
            at: unix seconds, the same for all of them.
            state, summary: written to the job's row; None leaves it. With a state of OVER it ends.
            commands: ids of commands that these events carry out; they are not handed out again.
            trials: as these events leave them; each replaces the row of its number.
            artefacts: keys of stored subsets that the job uses from now on.
            deliveries: webhooks that are to be sent for these events; one that is there is left.
            totals: what is added to those of all jobs: with a job's end, what was counted of it.
            first_seq: the number that the first event must get. With it, an append may be tried
                again after Unavailable: where it was stored after all, it is not stored twice.

        Returns:
            The sequence number of the first event.

        Raises:
            NotFound: no such job.
            LeaseLost: the token is not the job's any more, or the log is not where `first_seq`
                has it; nothing was written.
            Unavailable: the database did not take it, or did not say that it did.
        """
        began = time.perf_counter()
        try:
            first = self._append(
                job_id, token, batch, at, state, summary, commands, trials, artefacts, deliveries,
                totals, first_seq,
            )  # fmt: skip
        except _Elsewhere as elsewhere:
            # Our token, and yet not our position: the answer to the last attempt was lost.
            if first_seq is not None and self._holds(job_id, first_seq, batch):
                return first_seq
            raise LeaseLost(
                f"{job_id}: event {first_seq} was to be written, the log is at {elsewhere.first}"
            ) from None
        self.on_append(time.perf_counter() - began)
        return first

    def _append(
        self,
        job_id: str,
        token: int,
        batch: Sequence[Item],
        at: float,
        state: str | None,
        summary: str | None,
        commands: Sequence[int],
        trials: Sequence[TrialRow],
        artefacts: Sequence[str],
        deliveries: Sequence[DeliveryRow],
        totals: Sequence[Total],
        first_seq: int | None,
    ) -> int:
        n = len(batch)
        values = {
            "n": n,
            "at": at,
            "new_state": state,
            "new_summary": summary,
            "ended": at if state in OVER else None,
            "job": job_id,
            "held": token,
            "place": None if first_seq is None or not n else first_seq - 1,
        }
        said = [(e[0], e[1], e[2] if len(e) == 3 else trial_of(e[1])) for e in batch]
        rows = [shown(job_id, row) for row in {row.number: row for row in trials}.values()]
        alone = not (artefacts or commands or deliveries or totals)
        with self._appending(alone) as connection:
            last = self._store(connection, values, said, rows)
            if last is None:
                raise self._why_not(job_id, token, connection)
            if artefacts:
                self._use(connection, job_id, artefacts)
            for delivery in deliveries:
                self._deliver(connection, delivery)
            for command in commands:
                self._mark(connection, job_id, command, at)
            if totals:  # last: others that end wait for these rows
                self._add(connection, totals)
        return last - n + 1

    def events(
        self, job_id: str, after: int = 0, limit: int | None = None, trial: int | None = None
    ) -> Iterator[StoredEvent]:
        """A job's events in order, from the one after `after`.

        Args:
            trial: only those about it.

        Raises:
            Damaged: one is missing in between (not looked for where only a trial's are asked for).
        """
        left = limit
        statement = self._select if trial is None else self._select_of_trial
        while left is None or left > 0:
            size = CHUNK if left is None else min(CHUNK, left)
            with self._read() as connection:
                values = {"job": job_id, "after": after, "size": size, "of": trial}
                rows = statement.run(connection, values).fetchall()
            for row in rows:
                if trial is None and row[0] != after + 1:
                    raise Damaged(f"event {after + 1} of job {job_id} is missing; {row[0]} is next")
                after = row[0]
                yield StoredEvent._make(row)
            if len(rows) < size:
                return
            left = None if left is None else left - len(rows)

    # ---- below ----------------------------------------------------------------------------------

    def _store(
        self,
        connection: Connection,
        values: dict[str, Any],
        said: Sequence[tuple[str, str, int | None]],
        rows: Sequence[dict[str, Any]],
    ) -> int | None:
        """Moves the log on, and writes what came; returns the number of its last event.

        None: the token is not the job's, or the log is at another place; nothing was written.
        """
        if self._backend.writes_at_once:
            found = self._at_once.run(connection, {**values, **columns(said, rows)}).fetchone()
            return None if found is None else int(found[0])
        found = self._advance.run(connection, values).fetchone()
        if found is None:
            return None
        last = int(found[0])
        if said:
            about = {"job_id": values["job"], "at": values["at"]}
            first = last - len(said) + 1
            self._insert.run_many(
                connection,
                [
                    {**about, "seq": first + i, "kind": kind, "body": body, "trial": trial}
                    for i, (kind, body, trial) in enumerate(said)
                ],
            )
        if rows:
            self._upsert_trial.run_many(connection, rows)
        return last

    def _why_not(self, job_id: str, token: int, connection: Connection) -> Exception:
        query = select(jobs.c.seq).where(jobs.c.id == job_id, jobs.c.token == token)
        seq = connection.execute(query).scalar()
        if seq is None:
            return self._refused(job_id, token, connection)
        return _Elsewhere(int(seq) + 1)

    def _holds(self, job_id: str, first_seq: int, batch: Sequence[Item]) -> bool:
        """Whether the log has exactly these events there."""
        found = list(self.events(job_id, first_seq - 1, len(batch)))
        return [(one.kind, one.body) for one in found] == [(one[0], one[1]) for one in batch]

    @cached_property
    def _advance(self) -> Prepared:
        return self._prepared(_ADVANCE)

    @cached_property
    def _at_once(self) -> Prepared:
        return self._prepared(at_once(_ADVANCE, self._upsert_from))

    @cached_property
    def _insert(self) -> Prepared:
        return self._prepared(
            insert(events).values({column.name: bindparam(column.name) for column in events.c})
        )

    @cached_property
    def _select(self) -> Prepared:
        return self._prepared(_READ)

    @cached_property
    def _select_of_trial(self) -> Prepared:
        return self._prepared(_READ.where(events.c.trial == bindparam("of")))


class _Elsewhere(Exception):
    """The next event would get another number than the writer thinks."""

    def __init__(self, first: int) -> None:
        self.first = first


# What decides: nothing is written where it finds no row.
_ADVANCE = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("job"),
        jobs.c.token == bindparam("held"),
        jobs.c.seq == func.coalesce(bindparam("place", type_=BigInteger), jobs.c.seq),
    )
    .values(
        seq=jobs.c.seq + bindparam("n"),
        updated_at=bindparam("at"),
        state=func.coalesce(bindparam("new_state"), jobs.c.state),
        summary=func.coalesce(bindparam("new_summary"), jobs.c.summary),
        ended_at=func.coalesce(jobs.c.ended_at, bindparam("ended")),
    )
    .returning(jobs.c.seq)
)
_READ = (
    select(events.c.seq, events.c.at, events.c.kind, events.c.body)
    .where(events.c.job_id == bindparam("job"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("size"))
)
_TRIAL = re.compile(r'\{"trial":(\d{1,9})[,}]')


def trial_of(body: str) -> int | None:
    """The trial that an event's body begins with, as `tuning.events` writes those about one."""
    found = _TRIAL.match(body)
    return None if found is None else int(found[1])
