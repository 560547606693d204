"""Trials of a job as its last events have left them: a projection, written with those events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Select,
    and_,
    bindparam,
    false,
    or_,
    select,
    update,
)

from automata_svc.database import schema
from automata_svc.database.access import Access, Prepared
from automata_svc.database.failures import repeated
from automata_svc.database.rows import ArtefactUse, TrialRow
from automata_svc.database.words import storable
from automata_svc.errors import NotFound

jobs, trials, uses = schema.jobs, schema.trials, schema.artefact_uses

# From columns and a query of them, the statement that writes those trials.
Upsert = Callable[[Sequence[str], Select[Any]], Insert]


class Trials(Access):
    """Rows of the tables trials and artefact_uses."""

    def trials(
        self,
        job_id: str,
        *,
        state: str | None = None,
        order: str = "number",
        mode: str = "max",
        limit: int | None = None,
        after: tuple[Any, ...] | None = None,
    ) -> list[TrialRow]:
        """Trials of a job.

        Args:
            order: "number"; or "rank": the highest rung first, in it the best metric (those without
                one last), then the lowest number.
            mode: of the metric, "max" or "min".
            after: of the last one of the page before: (number,), or (rung, metric, number).
        """
        mine = trials.c.job_id == job_id
        keys = _ORDERS[order](mode)
        conditions = [mine]
        if state is not None:
            conditions.append(trials.c.state == state)
        if after is not None:
            conditions.append(_behind(keys, after))
        by = [one for key in keys for one in key.order]
        query = select(*_COLUMNS).where(*conditions).order_by(*by).limit(limit)
        if order != "number" and limit is not None:
            # Numbers first, from an index alone; then the bodies, of this page only.
            numbers = select(trials.c.number).where(*conditions).order_by(*by).limit(limit)
            page = numbers.subquery("page")
            query = select(*_COLUMNS).join(page, page.c.number == trials.c.number).where(mine)
            query = query.order_by(*by)
        with self._read() as connection:
            return [TrialRow._make(row) for row in connection.execute(query)]

    def trial(self, job_id: str, number: int) -> TrialRow:
        """One trial.

        Raises:
            NotFound: the job has no such trial (yet).
        """
        mine = (trials.c.job_id == job_id) & (trials.c.number == number)
        with self._read() as connection:
            row = connection.execute(select(*_COLUMNS).where(mine)).first()
        if row is None:
            raise NotFound(f"job {job_id} has no trial {number}")
        return TrialRow._make(row)

    @repeated
    def fill_trials(self, job_id: str, seq: int, rows: Sequence[TrialRow]) -> bool:
        """Writes the projection of a job whose log was written before there was one.

        Args:
            seq: the job's last event when `rows` were computed.

        Returns:
            Whether they were written; False: the log has gone on since.
        """
        with self._writing() as connection:
            # A change of nothing keeps appends out until this is done.
            mine = (jobs.c.id == job_id) & (jobs.c.seq == seq)
            held = update(jobs).where(mine).values(seq=jobs.c.seq).returning(jobs.c.id)
            if connection.execute(held).first() is None:
                return False
            self._project(connection, job_id, rows)
        return True

    def artefact_uses(self, project: str | None = None) -> list[ArtefactUse]:
        """Which jobs train on which stored subsets."""
        query = select(uses.c.key, uses.c.job_id, jobs.c.project).join(
            jobs, jobs.c.id == uses.c.job_id
        )
        if project is not None:
            query = query.where(jobs.c.project == project)
        with self._read() as connection:
            rows = connection.execute(query.order_by(uses.c.key, uses.c.job_id))
            return [ArtefactUse._make(row) for row in rows]

    # ---- below ----------------------------------------------------------------------------------

    def _project(self, connection: Connection, job_id: str, rows: Sequence[TrialRow]) -> None:
        self._upsert_trial.run_many(connection, [shown(job_id, row) for row in rows])

    def _use(self, connection: Connection, job_id: str, artefacts: Sequence[str]) -> None:
        rows = [{"job_id": job_id, "key": key} for key in artefacts]
        connection.execute(self._backend.insert(uses).on_conflict_do_nothing(), rows)

    @cached_property
    def _upsert_trial(self) -> Prepared:
        values = {column.name: bindparam(column.name, type_=column.type) for column in trials.c}
        return self._prepared(_replacing(self._backend.insert(trials).values(values)))

    def _upsert_from(self, names: Sequence[str], query: Select[Any]) -> Insert:
        return _replacing(self._backend.insert(trials).from_select(names, query))


def _replacing(made: Any) -> Insert:
    names = [column.name for column in trials.c if not column.primary_key]
    statement: Insert = made.on_conflict_do_update(
        index_elements=["job_id", "number"], set_={name: made.excluded[name] for name in names}
    )
    return statement


def shown(job_id: str, row: TrialRow) -> dict[str, Any]:
    """A trial as its row is stored."""
    return {
        **row._asdict(),
        "job_id": job_id,
        "reason": storable(row.reason),
        "metric": _finite(row.metric),
        "loss": _finite(row.loss),
        "share": float(row.share),
    }


def _finite(value: float | None) -> float | None:
    # SQLite would store a NaN as nothing, PostgreSQL would call it the largest number.
    return float(value) if value is not None and math.isfinite(value) else None


_COLUMNS = tuple(trials.c[name] for name in TrialRow._fields)


class _Key:
    """One column of an order, and what lies behind a value of it."""

    def __init__(self, column: ColumnElement[Any], way: Literal["up", "down"]) -> None:
        self._column, self._way = column, way

    @property
    def order(self) -> tuple[ColumnElement[Any], ...]:
        by = self._column.asc() if self._way == "up" else self._column.desc()
        # "nulls last" in words that no database understands differently
        return (self._column.is_(None), by) if self._may_be_null else (by,)

    def behind(self, value: Any) -> ColumnElement[bool]:
        if value is None:
            return false()
        further = self._column > value if self._way == "up" else self._column < value
        return or_(further, self._column.is_(None)) if self._may_be_null else further

    def same(self, value: Any) -> ColumnElement[bool]:
        return self._column.is_(None) if value is None else self._column == value

    @property
    def _may_be_null(self) -> bool:
        return bool(getattr(self._column, "nullable", False))


def _behind(keys: Sequence[_Key], after: tuple[Any, ...]) -> ColumnElement[bool]:
    """Rows that come after the one with these values, in the order of the keys."""
    cases = [
        and_(*(k.same(v) for k, v in zip(keys[:i], after[:i], strict=True)), key.behind(after[i]))
        for i, key in enumerate(keys)
    ]
    return or_(*cases)


def _by_number(mode: str) -> tuple[_Key, ...]:
    return (_Key(trials.c.number, "up"),)


def _by_rank(mode: str) -> tuple[_Key, ...]:
    best_first: Literal["up", "down"] = "down" if mode == "max" else "up"
    return _Key(trials.c.rung, "down"), _Key(trials.c.metric, best_first), *_by_number(mode)


_ORDERS = {"number": _by_number, "rank": _by_rank}
