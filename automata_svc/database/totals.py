"""What was counted of jobs that are over, and what is looked at of those that are not."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, false, func, literal, select, union_all

from automata_svc.database import schema
from automata_svc.database.jobs import IDS_AT_ONCE, Jobs
from automata_svc.database.rows import LiveJob, Total

jobs, trials, totals = schema.jobs, schema.trials, schema.totals


class Totals(Jobs):
    """Rows of the table totals. One row for each set of labels: as many as there are of these."""

    def counted(self) -> tuple[list[Total], list[LiveJob]]:
        """All totals, and the jobs that are not over, which are not in them.

        Both by one statement, so that a job that ends meanwhile is in one of the two. An index
        holds the jobs, however many have ended.
        """
        over = select(
            literal(""), totals.c.name, totals.c.labels, literal(""), totals.c.value, literal(""),
            false(),
        )  # fmt: skip
        live = select(
            jobs.c.id, jobs.c.project, jobs.c.queue, jobs.c.state, jobs.c.created_at,
            jobs.c.summary, self._is_leased(),
        ).where(jobs.c.ended_at.is_(None))  # fmt: skip
        with self._read() as connection:
            rows = connection.execute(union_all(over, live)).all()
        return (
            [Total(row[1], json.loads(row[2]), row[4]) for row in rows if not row[0]],
            [LiveJob._make(row) for row in rows if row[0]],
        )

    def trials_of(self, job_ids: Sequence[str]) -> dict[str, int]:
        """State → how many trials of these jobs are in it; no other job's are looked at."""
        found: dict[str, int] = {}
        with self._read() as connection:
            for start in range(0, len(job_ids), IDS_AT_ONCE):
                asked = trials.c.job_id.in_(job_ids[start : start + IDS_AT_ONCE])
                query = select(trials.c.state, func.count()).where(asked).group_by(trials.c.state)
                for state, count in connection.execute(query):
                    found[state] = found.get(state, 0) + int(count)
        return found

    def _add(self, connection: Connection, rows: Sequence[Total]) -> None:
        """Adds to what is there, always in the same order: two at once wait, and never clash."""
        keyed = sorted(
            (row.name, json.dumps(dict(sorted(row.labels.items()))), row) for row in rows
        )
        for name, labels, row in keyed:
            new = self._backend.insert(totals).values(name=name, labels=labels, value=row.value)
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=[totals.c.name, totals.c.labels],
                    set_={"value": totals.c.value + new.excluded.value},
                )
            )
