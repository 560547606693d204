"""Jobs as they were submitted, what people and the controller change of them, and their end."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from automata_svc.database import schema
from automata_svc.database.access import Access
from automata_svc.database.bundles import use_bundles
from automata_svc.database.failures import repeated
from automata_svc.database.finding import find_job, no_job
from automata_svc.database.ids import new_job_id
from automata_svc.database.named import require_named
from automata_svc.database.rows import KEY_TTL_S, OVER, JobHead, StoredJob
from automata_svc.errors import Conflict, KeyReused, Replayed, Stale

IDS_AT_ONCE = 500  # within what one statement may bind

jobs, submissions = schema.jobs, schema.submissions
labels, keys = schema.labels, schema.submission_keys

# What `update_job` changes, and where it is stored.
CHANGEABLE: Mapping[str, Table] = MappingProxyType(
    {"priority": jobs, "queue": jobs, "labels": jobs, "spec": submissions}
)
CONTROLLERS = frozenset({"attempt", "driver_id", "not_before", "waiting", "slots"})
# Every table with rows of a job, its own row last.
OF_A_JOB = (
    schema.events,
    schema.trials,
    schema.artefact_uses,
    schema.commands,
    schema.deliveries,
    schema.bundle_uses,
    labels,
    keys,
    submissions,
)


class Jobs(Access):
    """Rows of the tables jobs and submissions, and what is found by them."""

    @repeated
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
        driver: str = "cli",
        queue: str = "default",
        priority: int = 50,
        labels: str = "{}",
        created_by: str | None = None,
        idempotency: tuple[str, str] | None = None,
        key_ttl_s: float | None = KEY_TTL_S,
        bundles: Collection[tuple[str, str, str]] = (),
    ) -> str:
        """Stores a job, so that a power cut does not lose it, and returns its id.

        Args:
            labels: JSON text of an object of texts.
            idempotency: (key, fingerprint of what is submitted); makes one job of the project,
                however often and from wherever it is called with the same.
            key_ttl_s: for how long, on the database's clock; None: as long as the job is stored.
            bundles: (kind, name, sha256) that it names; they stay as long as it is stored.

        Raises:
            Conflict: a job of that id exists.
            Replayed: the same was submitted with this key before; carries that job's id.
            KeyReused: something else was.
            SpecError: a bundle was taken away since it was looked at.
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
            "driver": driver,
            "queue": queue,
            "priority": priority,
            "labels": labels,
            "created_by": created_by,
            "ended_at": created_at if state in OVER else None,
        }
        texts = {"job_id": job_id, "spec": spec, "plan": plan, "template": template}
        with (
            self._engine_errors(),
            self._engine.connect() as connection,
            self._backend.durably(connection),
            self._write(connection),
        ):
            if idempotency is not None:
                self._claim_key(connection, project, idempotency, job_id, key_ttl_s)
            statement = self._backend.insert(jobs).values(row).on_conflict_do_nothing()
            if connection.execute(statement.returning(jobs.c.id)).first() is None:
                raise Conflict(f"job {job_id} exists already")
            connection.execute(insert(submissions).values(texts))
            _write_labels(connection, job_id, labels)
            use_bundles(connection, self._now, job_id, project, bundles)
        return job_id

    def find_submission(self, project: str, key: str, fingerprint: str) -> str | None:
        """The job that a key stands for in a project; None: the key is new, or its time is over.

        Raises:
            KeyReused: something else was submitted with it.
        """
        with self._read() as connection:
            return self._job_of_key(connection, project, (key, fingerprint))

    def get_job(self, job: str, project: str | None = None) -> StoredJob:
        """A job by its id, a prefix of it that fits one job only, or its name (the newest of them).

        Args:
            project: the only one to look in; None: all.

        Raises:
            NotFound: names the nearest job.
            SpecError: the prefix fits more than one.
        """
        texts = (submissions.c.spec, submissions.c.plan, submissions.c.template)
        whole = jobs.join(submissions, submissions.c.job_id == jobs.c.id)
        query = select(*_HEAD, *texts, self._is_leased()).select_from(whole)
        with self._read() as connection:
            return StoredJob(**find_job(job, query, connection, project)._mapping)

    def get_head(self, job: str, project: str | None = None) -> JobHead:
        """As `get_job`, without its texts."""
        query = select(*_HEAD, self._is_leased())
        with self._read() as connection:
            return JobHead(**find_job(job, query, connection, project)._mapping)

    def list_jobs(
        self,
        *,
        project: str | None = None,
        state: str | Sequence[str] | None = None,
        name: str | None = None,
        label: tuple[str, str] | None = None,
        driver: str | None = None,
        limit: int | None = None,
        before: tuple[float, str] | None = None,
    ) -> list[JobHead]:
        """Jobs, newest first.

        Args:
            state: one, or any of several.
            label: (name, value) that they have.
            before: (created_at, id) of the last one of the page before.
        """
        query: Select[Any] = select(*_HEAD, self._is_leased())
        for column, value in (
            (jobs.c.project, project),
            (jobs.c.name, name),
            (jobs.c.driver, driver),
        ):
            if value is not None:
                query = query.where(column == value)
        if state is not None:
            states = [state] if isinstance(state, str) else list(state)
            query = query.where(jobs.c.state.in_(states))
            if not OVER & set(states):
                query = query.where(jobs.c.ended_at.is_(None))  # a small index holds these
        if label is not None:
            has = (labels.c.name == label[0]) & (labels.c.value == label[1])
            query = query.where(select(1).where(labels.c.job_id == jobs.c.id, has).exists())
        if before is not None:
            at, job_id = before
            # The first condition alone is what an index can use.
            query = query.where(jobs.c.created_at <= at)
            query = query.where(or_(jobs.c.created_at < at, jobs.c.id < job_id))
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        with self._read() as connection:
            return [JobHead(**row._mapping) for row in connection.execute(query)]

    def last_seqs(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The number of each job's last event; a job that is not there is not in it."""
        found: dict[str, int] = {}
        with self._read() as connection:
            for start in range(0, len(job_ids), IDS_AT_ONCE):
                asked = job_ids[start : start + IDS_AT_ONCE]
                query = select(jobs.c.id, jobs.c.seq).where(jobs.c.id.in_(asked))
                found.update((row.id, row.seq) for row in connection.execute(query))
        return found

    @repeated
    def update_job(
        self, job_id: str, values: Mapping[str, Any], expect_revision: int | None = None
    ) -> int:
        """Changes what people may change of a job, all at once; returns its revision after that.

        Args:
            values: of CHANGEABLE; with none of them nothing changes, the revision neither.
            expect_revision: the one that the change is based on; None: any.

        Raises:
            NotFound: no such job.
            Stale: it has another revision.
        """
        strange = values.keys() - CHANGEABLE.keys()
        if strange:
            raise ValueError(f"{sorted(strange)} cannot be changed; {sorted(CHANGEABLE)} can be")
        with self._writing() as connection:
            held = select(jobs.c.revision).where(jobs.c.id == job_id).with_for_update()
            revision = connection.execute(held).scalar()
            if revision is None:
                raise no_job(job_id, connection)
            if expect_revision is not None and revision != expect_revision:
                raise Stale(
                    f"{job_id} is at revision {revision}, the change is based on "
                    f"{expect_revision}; look at it again"
                )
            if not values:
                return int(revision)
            own = {k: v for k, v in values.items() if CHANGEABLE[k] is jobs}
            statement = update(jobs).where(jobs.c.id == job_id)
            connection.execute(statement.values(**own, revision=revision + 1))
            if "spec" in values:
                texts = update(submissions).where(submissions.c.job_id == job_id)
                connection.execute(texts.values(spec=values["spec"]))
            if "labels" in values:
                connection.execute(delete(labels).where(labels.c.job_id == job_id))
                _write_labels(connection, job_id, values["labels"])
            return int(revision) + 1

    @repeated
    def set_controller_fields(
        self, job_id: str, /, held: tuple[str, int] | None = None, **values: Any
    ) -> None:
        """Writes what the controller keeps of a job: some of CONTROLLERS.

        Args:
            held: name and token of a named lease without which nothing is written.

        Raises:
            NotFound: no such job.
            LeaseLost: another token of that lease has been given out since.
        """
        strange = values.keys() - CONTROLLERS
        if strange:
            raise ValueError(f"{sorted(strange)} are not the controller's; {sorted(CONTROLLERS)}")
        with self._writing() as connection:
            if held is not None:
                require_named(*held, connection)
            statement = update(jobs).where(jobs.c.id == job_id).values(**values)
            if connection.execute(statement.returning(jobs.c.id)).first() is None:
                raise no_job(job_id, connection)

    @repeated
    def delete_job(self, job_id: str) -> None:
        """Removes a job that is over, and every row of it, in one transaction.

        Raises:
            NotFound: no such job.
            Conflict: it is not over.
        """
        with self._writing() as connection:
            # The job's row first, as every other writer does: nobody waits for anybody in a circle.
            held = select(jobs.c.state).where(jobs.c.id == job_id).with_for_update()
            state = connection.execute(held).scalar()
            if state is None:
                raise no_job(job_id, connection)
            if state not in OVER:
                raise Conflict(f"{job_id} is {state}; it can be deleted when it is over")
            for table in OF_A_JOB:
                connection.execute(delete(table).where(table.c.job_id == job_id))
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    @repeated
    def drop_expired_keys(self, dry_run: bool = False) -> int:
        """Forgets the idempotency keys whose time is over; returns how many there were."""
        is_over = keys.c.expires_at <= self._now
        if dry_run:
            with self._read() as connection:
                count = select(func.count()).select_from(keys).where(is_over)
                return int(connection.execute(count).scalar_one())
        with self._writing() as connection:
            return int(connection.execute(delete(keys).where(is_over)).rowcount)

    # ---- below ----------------------------------------------------------------------------------

    def _claim_key(
        self,
        connection: Connection,
        project: str,
        idempotency: tuple[str, str],
        job_id: str,
        ttl_s: float | None,
    ) -> None:
        """The first to write the key has it; those at the same moment wait here for its commit.

        One that has expired is taken over in the same statement, so by one of them only.
        """
        key, fingerprint = idempotency
        new = {
            "fingerprint": fingerprint,
            "job_id": job_id,
            "expires_at": None if ttl_s is None else self._now + ttl_s,
        }
        claim = (
            self._backend.insert(keys)
            .values(project=project, key=key, **new)
            .on_conflict_do_update(
                index_elements=[keys.c.project, keys.c.key],
                set_=new,
                where=keys.c.expires_at <= self._now,
            )
            .returning(keys.c.job_id)
        )
        while connection.execute(claim).first() is None:
            found = self._job_of_key(connection, project, idempotency)
            if found is not None:  # else it has gone or expired since the claim: claim it again
                raise Replayed(found)

    def _job_of_key(
        self, connection: Connection, project: str, idempotency: tuple[str, str]
    ) -> str | None:
        key, fingerprint = idempotency
        is_good = or_(keys.c.expires_at.is_(None), keys.c.expires_at > self._now)
        query = select(keys.c.job_id, keys.c.fingerprint).where(is_good)
        row = connection.execute(query.where(keys.c.project == project, keys.c.key == key)).first()
        if row is None:
            return None
        if row.fingerprint != fingerprint:
            raise KeyReused(
                f"the idempotency key '{key}' stands for another submission ({row.job_id}); "
                "use a new key for a new job"
            )
        return str(row.job_id)

    def _is_leased(self) -> ColumnElement[bool]:
        live = (jobs.c.lease_owner.is_not(None)) & (jobs.c.lease_expires_at > self._now)
        return func.coalesce(live, False).label("is_leased")


def _write_labels(connection: Connection, job_id: str, text: str) -> None:
    rows = [
        {"job_id": job_id, "name": name, "value": str(value)}
        for name, value in json.loads(text).items()
    ]
    if rows:
        connection.execute(insert(labels), rows)


_HEAD = tuple(jobs.c[field.name] for field in fields(JobHead) if field.name != "is_leased")
