"""How people name jobs: an id, the beginning of one, or a name; what to say of one not there."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from automata_svc.database import schema
from automata_svc.database.words import is_storable
from automata_svc.errors import NotFound, SpecError, nearest

jobs = schema.jobs


def find_job(job: str, query: Select[Any], connection: Connection, project: str | None) -> Row[Any]:
    """The row of `query` whose job is meant.

    Args:
        job: an id, a prefix of one that fits one job only, or a name (its newest job is meant).
        query: selects from jobs, id and name among its columns.
        project: the only one to look in; None: all.

    Raises:
        NotFound: names the nearest job.
        SpecError: the prefix fits more than one.
    """
    if not is_storable(job):
        raise NotFound(f"no job is called {job[:60]!r}")
    if project is not None:
        query = query.where(jobs.c.project == project)
    row = connection.execute(query.where(jobs.c.id == job)).first()
    if row is None:
        newest = jobs.c.created_at.desc(), jobs.c.id.desc()
        row = connection.execute(query.where(jobs.c.name == job).order_by(*newest)).first()
    if row is None and job:
        found = connection.execute(query.where(_begins(job)).order_by(jobs.c.id).limit(6)).all()
        if len(found) > 1:
            shown = ", ".join(f"{one.id} ({one.name})" for one in found[:5])
            more = ", …" if len(found) > 5 else ""
            raise SpecError(f"'{job}' fits more than one job: {shown}{more}; give more of it")
        row = found[0] if found else None
    if row is None:
        raise no_job(job, connection, project)
    return row


def no_job(job: str, connection: Connection, project: str | None = None) -> NotFound:
    """The error for a job that is not there; names the nearest of the newest."""
    query = select(jobs.c.id, jobs.c.name).order_by(jobs.c.created_at.desc()).limit(200)
    if project is not None:
        query = query.where(jobs.c.project == project)
    rows = connection.execute(query).all()
    close = nearest(job, [row.name for row in rows] + [row.id for row in rows])
    meant = f"; did you mean '{close}'?" if close else "; `automata ls` lists them"
    return NotFound(f"no job '{job}' is stored here{meant}")


def _begins(prefix: str) -> ColumnElement[bool]:
    """An id that begins so, with or without its job_."""
    ids = [prefix] if prefix.startswith("job_") else [prefix, f"job_{prefix}"]
    # Letter by letter: LIKE would read what the text has of % and _.
    conditions = [func.substr(jobs.c.id, 1, len(text)) == text for text in ids]
    return conditions[0] if len(conditions) == 1 else conditions[0] | conditions[1]
