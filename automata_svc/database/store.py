"""The database: jobs, leases, the event log, commands. Every write is one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    insert,
    select,
    update,
)

from automata_svc.database import schema
from automata_svc.database.access import Access, Prepared
from automata_svc.database.ids import new_job_id
from automata_svc.database.liveness import is_gone
from automata_svc.database.rows import JobHead, StoredCommand, StoredEvent, StoredJob
from automata_svc.errors import (
    AutomataError,
    Conflict,
    Damaged,
    LeaseLost,
    NotFound,
    SpecError,
    nearest,
)

CHUNK = 5_000  # events read at a time: a long reader must not hold the write-ahead log back

jobs, submissions = schema.jobs, schema.submissions
events, commands = schema.events, schema.commands


class Database(Access):
    """One process's connection; may be shared between its threads, not with a fork."""

    def __init__(self, url: str, busy_timeout_s: float = 10.0) -> None:
        super().__init__(url, busy_timeout_s)
        self._prepare()

    # ---- jobs -----------------------------------------------------------------------------------

    def create_job(
        self,
        *,
        name: str,
        spec: str,
        plan: str,
        template: str,
        created_at: float,
        project: str = "default",
        state: str = "QUEUED",
        summary: str = "{}",
        job_id: str | None = None,
    ) -> str:
        """Stores a job, so that a power cut does not lose it, and returns its id.

        Raises:
            Conflict: a job of that id exists.
        """
        job_id = job_id or new_job_id(created_at)
        row = {
            "id": job_id,
            "name": name,
            "project": project,
            "state": state,
            "seq": 0,
            "token": 0,
            "created_at": created_at,
            "updated_at": created_at,
            "summary": summary,
        }
        texts = {"job_id": job_id, "spec": spec, "plan": plan, "template": template}
        with (
            self._engine_errors(),
            self._engine.connect() as connection,
            self._backend.durably(connection),
            self._write(connection),
        ):
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first():
                raise Conflict(f"job {job_id} exists already")
            connection.execute(insert(jobs).values(row))
            connection.execute(insert(submissions).values(texts))
        return job_id

    def get_job(self, job: str) -> StoredJob:
        """A job by its id, a prefix of it that fits one job only, or its name (the newest of them).

        Raises:
            NotFound: names the nearest job.
            SpecError: the prefix fits more than one.
        """
        texts = (submissions.c.spec, submissions.c.plan, submissions.c.template)
        whole = jobs.join(submissions, submissions.c.job_id == jobs.c.id)
        with self._read() as connection:
            query = select(*_HEAD, *texts, self._is_leased()).select_from(whole)
            row = connection.execute(query.where(jobs.c.id == job)).first()
            if row is None:
                newest = jobs.c.created_at.desc(), jobs.c.id.desc()
                row = connection.execute(query.where(jobs.c.name == job).order_by(*newest)).first()
            if row is None and job:
                found = connection.execute(query.where(_begins(job)).limit(6)).all()
                if len(found) > 1:
                    shown = ", ".join(f"{one.id} ({one.name})" for one in found[:5])
                    more = ", …" if len(found) > 5 else ""
                    raise SpecError(
                        f"'{job}' fits more than one job: {shown}{more}; give more of it"
                    )
                row = found[0] if found else None
            if row is None:
                raise NotFound(_no_job(job, connection))
        return StoredJob(**row._mapping)

    def list_jobs(
        self,
        *,
        project: str | None = None,
        state: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        before: tuple[float, str] | None = None,
    ) -> list[JobHead]:
        """Jobs, newest first; `before` is (created_at, id) of the last one of the page before."""
        query: Select[Any] = select(*_HEAD, self._is_leased())
        for column, value in (
            (jobs.c.project, project),
            (jobs.c.state, state),
            (jobs.c.name, name),
        ):
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            at, job_id = before
            query = query.where(
                (jobs.c.created_at < at) | ((jobs.c.created_at == at) & (jobs.c.id < job_id))
            )
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        with self._read() as connection:
            return [JobHead(**row._mapping) for row in connection.execute(query)]

    # ---- leases ---------------------------------------------------------------------------------

    def take_lease(self, job_id: str, owner: str, ttl_s: float) -> int:
        """Makes `owner` the one process that may write this job's log; returns its fencing token.

        Every earlier token is refused from here on. A lease whose owner was a process of this
        machine that has ended is taken over at once, any other when it has run out.

        Raises:
            NotFound: no such job.
            Conflict: a live lease is held; by this very process, too.
        """
        with self._writing() as connection:
            held = select(jobs.c.lease_owner, jobs.c.lease_expires_at, self._is_leased())
            row = connection.execute(held.where(jobs.c.id == job_id).with_for_update()).first()
            if row is None:
                raise NotFound(_no_job(job_id, connection))
            if row.is_leased and not is_gone(row.lease_owner):
                left = row.lease_expires_at - self._clock(connection)
                raise Conflict(
                    f"job {job_id} is driven by {row.lease_owner}; its lease runs for another "
                    f"{max(left, 0):.0f} s unless it is renewed. Stop that process, or wait"
                )
            return int(
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id)
                    .values(
                        token=jobs.c.token + 1,
                        lease_owner=owner,
                        lease_expires_at=self._now + ttl_s,
                    )
                    .returning(jobs.c.token)
                ).scalar_one()
            )

    def renew(self, job_id: str, token: int, ttl_s: float) -> None:
        """Puts the end of the lease off to `ttl_s` from now, on the database's clock.

        Raises:
            LeaseLost: another token has been given out since.
        """
        self._with_token(job_id, token, {"lease_expires_at": self._now + ttl_s})

    def release(self, job_id: str, token: int) -> None:
        """Gives the lease back: anybody may take it at once, and this token writes nothing more.

        Raises:
            LeaseLost: another token has been given out since.
        """
        values = {"lease_owner": None, "lease_expires_at": None, "token": jobs.c.token + 1}
        self._with_token(job_id, token, values)

    def _with_token(self, job_id: str, token: int, values: Mapping[str, Any]) -> None:
        statement = update(jobs).where(jobs.c.id == job_id, jobs.c.token == token)
        with self._writing() as connection:
            changed = connection.execute(statement.values(**values).returning(jobs.c.id)).first()
            if changed is None:
                raise self._refused(job_id, token, connection)

    def _refused(self, job_id: str, token: int, connection: Connection) -> AutomataError:
        query = select(jobs.c.token, jobs.c.lease_owner).where(jobs.c.id == job_id)
        row = connection.execute(query).first()
        if row is None:
            return NotFound(_no_job(job_id, connection))
        holder = f"{row.lease_owner} holds it now" if row.lease_owner else "it was given back"
        return LeaseLost(f"the lease of job {job_id} (token {token}) is lost: {holder}")

    # ---- the log --------------------------------------------------------------------------------

    def append(
        self,
        job_id: str,
        token: int,
        batch: Sequence[tuple[str, str]],
        at: float,
        state: str | None = None,
        summary: str | None = None,
        commands: Sequence[int] = (),
    ) -> int:
        """Stores events in order, and what goes with them, in one transaction: all or nothing.

        Args:
            batch: (kind, body) of each event; may be empty where only the rest is to be written.
            at: unix seconds, the same for all of them.
            state, summary: written to the job's row; None leaves it.
            commands: ids of commands that these events carry out; they are not handed out again.

        Returns:
            The sequence number of the first event.

        Raises:
            LeaseLost: the token is not the job's any more; nothing was written.
            Unavailable: the database did not take it; nothing was written, it may be tried again.
        """
        n = len(batch)
        values = {
            "n": n,
            "at": at,
            "new_state": state,
            "new_summary": summary,
            "job": job_id,
            "held": token,
        }
        with self._appending() as connection:
            row = self._advance.run(connection, values).fetchone()
            if row is None:
                raise self._refused(job_id, token, connection)
            first = int(row[0]) - n + 1
            rows = [
                {"job_id": job_id, "seq": first + i, "at": at, "kind": kind, "body": body}
                for i, (kind, body) in enumerate(batch)
            ]
            if rows:
                self._insert.run_many(connection, rows)
            for command in commands:
                self._mark(connection, job_id, command, at)
        return first

    def events(
        self, job_id: str, after: int = 0, limit: int | None = None
    ) -> Iterator[StoredEvent]:
        """A job's events in order, from the one after `after`.

        Raises:
            Damaged: one is missing in between.
        """
        left = limit
        while left is None or left > 0:
            size = CHUNK if left is None else min(CHUNK, left)
            with self._read() as connection:
                values = {"job": job_id, "after": after, "size": size}
                rows = self._select.run(connection, values).fetchall()
            for row in rows:
                if row[0] != after + 1:
                    raise Damaged(f"event {after + 1} of job {job_id} is missing; {row[0]} is next")
                after = row[0]
                yield StoredEvent._make(row)
            if len(rows) < size:
                return
            left = None if left is None else left - len(rows)

    # ---- commands -------------------------------------------------------------------------------

    def add_command(self, job_id: str, verb: str, body: str, at: float) -> int:
        """Asks something of whoever drives the job; returns the command's id.

        Raises:
            NotFound: no such job.
        """
        row = {"job_id": job_id, "verb": verb, "body": body, "created_at": at}
        with self._writing() as connection:
            if not connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first():
                raise NotFound(_no_job(job_id, connection))
            statement = insert(commands).values(row).returning(commands.c.id)
            return int(connection.execute(statement).scalar_one())

    def waiting_commands(self, job_id: str) -> list[StoredCommand]:
        """Commands that nobody has carried out, oldest first; `append(commands=)` marks them."""
        with self._read() as connection:
            rows = self._commands.run(connection, {"job": job_id}).fetchall()
            return [StoredCommand._make(row) for row in rows]

    def take_commands(self, job_id: str, at: float) -> list[StoredCommand]:
        """Hands out each waiting command once. A taker that dies loses what it has not logged yet;
        a driver reads `waiting_commands` and lets `append` mark them instead."""
        with self._writing() as connection:
            rows = self._commands.run(connection, {"job": job_id}).fetchall()
            for row in rows:
                self._mark(connection, job_id, row[0], at)
            return [StoredCommand._make(row) for row in rows]

    def _mark(self, connection: Connection, job_id: str, command: int, at: float) -> None:
        statement = update(commands).where(commands.c.id == command, commands.c.job_id == job_id)
        connection.execute(statement.values(taken_at=at))

    # ---- below ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Texts of the statements that run often, made once for this database."""
        dialect = self._engine.dialect
        self._advance = Prepared(
            update(jobs)
            .where(jobs.c.id == bindparam("job"), jobs.c.token == bindparam("held"))
            .values(
                seq=jobs.c.seq + bindparam("n"),
                updated_at=bindparam("at"),
                state=func.coalesce(bindparam("new_state"), jobs.c.state),
                summary=func.coalesce(bindparam("new_summary"), jobs.c.summary),
            )
            .returning(jobs.c.seq),
            dialect,
        )
        self._insert = Prepared(
            insert(events).values({column.name: bindparam(column.name) for column in events.c}),
            dialect,
        )
        self._select = Prepared(
            select(events.c.seq, events.c.at, events.c.kind, events.c.body)
            .where(events.c.job_id == bindparam("job"), events.c.seq > bindparam("after"))
            .order_by(events.c.seq)
            .limit(bindparam("size")),
            dialect,
        )
        self._commands = Prepared(
            select(commands.c.id, commands.c.verb, commands.c.body, commands.c.created_at)
            .where(commands.c.job_id == bindparam("job"), commands.c.taken_at.is_(None))
            .order_by(commands.c.id),
            dialect,
        )

    def _is_leased(self) -> ColumnElement[bool]:
        live = (jobs.c.lease_owner.is_not(None)) & (jobs.c.lease_expires_at > self._now)
        return func.coalesce(live, False).label("is_leased")

    def _clock(self, connection: Connection) -> float:
        return float(connection.execute(select(self._now)).scalar_one())


_HEAD = tuple(
    jobs.c[name]
    for name in (
        "id",
        "name",
        "project",
        "state",
        "seq",
        "token",
        "lease_owner",
        "lease_expires_at",
        "created_at",
        "updated_at",
        "summary",
    )
)


def _begins(prefix: str) -> ColumnElement[bool]:
    """An id that begins so, with or without its job_."""
    ids = [prefix] if prefix.startswith("job_") else [prefix, f"job_{prefix}"]
    conditions = [func.substr(jobs.c.id, 1, len(text)) == text for text in ids]
    return conditions[0] if len(conditions) == 1 else conditions[0] | conditions[1]


def _no_job(job: str, connection: Connection) -> str:
    rows = connection.execute(
        select(jobs.c.id, jobs.c.name).order_by(jobs.c.created_at.desc()).limit(200)
    ).all()
    close = nearest(job, [row.name for row in rows] + [row.id for row in rows])
    meant = f"; did you mean '{close}'?" if close else "; `automata ls` lists them"
    return f"no job '{job}' is stored here{meant}"
