"""Leases: the one process that may write a job's log, told from all before it by a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from automata_svc.database import schema
from automata_svc.database.failures import repeated
from automata_svc.database.finding import no_job
from automata_svc.database.jobs import Jobs
from automata_svc.database.liveness import is_gone
from automata_svc.errors import AutomataError, Conflict, LeaseLost

jobs = schema.jobs


class Leases(Jobs):
    """Leases of jobs, on the database's clock."""

    @repeated
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
                raise no_job(job_id, connection)
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

    @repeated
    def renew(self, job_id: str, token: int, ttl_s: float) -> None:
        """Puts the end of the lease off to `ttl_s` from now, on the database's clock.

        Raises:
            LeaseLost: another token has been given out since.
        """
        self._with_token(job_id, token, {"lease_expires_at": self._now + ttl_s})

    @repeated
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
            return no_job(job_id, connection)
        holder = f"{row.lease_owner} holds it now" if row.lease_owner else "it was given back"
        return LeaseLost(f"the lease of job {job_id} (token {token}) is lost: {holder}")
