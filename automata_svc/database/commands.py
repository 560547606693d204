"""What users ask of running jobs; a driver reads it, and marks it with the events it leads to."""

from __future__ import annotations

from functools import cached_property

from sqlalchemy import Connection, bindparam, insert, select, update

from automata_svc.database import schema
from automata_svc.database.access import Access, Prepared
from automata_svc.database.failures import repeated
from automata_svc.database.finding import no_job
from automata_svc.database.rows import StoredCommand

jobs, commands = schema.jobs, schema.commands


class Commands(Access):
    """Rows of the table commands."""

    @repeated
    def add_command(self, job_id: str, verb: str, body: str, at: float) -> int:
        """Asks something of whoever drives the job; returns the command's id.

        Raises:
            NotFound: no such job.
        """
        row = {"job_id": job_id, "verb": verb, "body": body, "created_at": at}
        with self._writing() as connection:
            held = select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(read=True)
            if not connection.execute(held).first():  # held: it is not deleted meanwhile
                raise no_job(job_id, connection)
            statement = insert(commands).values(row).returning(commands.c.id)
            return int(connection.execute(statement).scalar_one())

    def waiting_commands(self, job_id: str) -> list[StoredCommand]:
        """Commands that nobody has carried out, oldest first; `append(commands=)` marks them."""
        with self._read() as connection:
            rows = self._waiting.run(connection, {"job": job_id}).fetchall()
            return [StoredCommand._make(row) for row in rows]

    def _mark(self, connection: Connection, job_id: str, command: int, at: float) -> None:
        statement = update(commands).where(commands.c.id == command, commands.c.job_id == job_id)
        connection.execute(statement.values(taken_at=at))

    @cached_property
    def _waiting(self) -> Prepared:
        return self._prepared(
            select(commands.c.id, commands.c.verb, commands.c.body, commands.c.created_at)
            .where(commands.c.job_id == bindparam("job"), commands.c.taken_at.is_(None))
            .order_by(commands.c.id)
        )
