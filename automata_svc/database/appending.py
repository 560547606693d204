"""An append as one statement, for databases that can write several tables with one.

A driver stores each report before it goes on, so what an append waits for is what a job waits for.
One statement is a transaction by itself: one way to the server and back, and nothing in between
where it could stop half-way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Update,
    bindparam,
    column,
    func,
    insert,
    select,
    true,
)

from automata_svc.database import schema
from automata_svc.database.trials import Upsert
from automata_svc.database.words import Word, Words

SAID = tuple(schema.events.c[name] for name in ("kind", "body", "trial"))
SHOWN = tuple(one for one in schema.trials.c if one.name != "job_id")


def at_once(advance: Update, upsert: Upsert) -> Select[Any]:
    """Carries `advance` out, and writes events and trials if it found its row; gives what it gives.

    Args:
        advance: the update that decides, with bound `job`, `n` and `at`; returns the job's seq.
        upsert: makes the statement that writes trials from a query of their columns.

    The values of a column are bound together, as `columns` names them.
    """
    advanced = advance.cte("advanced")
    said = _unnested(SAID, "said")
    events = schema.events
    seq = advanced.c.seq - bindparam("n", type_=BigInteger) + said.c.place
    at = bindparam("at", type_=events.c.at.type)
    logged = insert(events).from_select(
        ["job_id", "seq", "at", *(one.name for one in SAID)],
        select(_job(), seq, at, *_of(said, SAID)).select_from(advanced.join(said, true())),
    )
    shown = _unnested(SHOWN, "shown")
    projected = upsert(
        ["job_id", *(one.name for one in SHOWN)],
        select(_job(), *_of(shown, SHOWN)).select_from(advanced.join(shown, true())),
    )
    return select(advanced.c.seq).add_cte(logged.cte("logged"), projected.cte("projected"))


def columns(said: Iterable[Sequence[Any]], shown: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `at_once` binds: of events as in SAID, and of trials."""
    rows = list(said)
    trials = list(shown)
    return {
        **{_bound(one): [row[i] for row in rows] for i, one in enumerate(SAID)},
        **{_bound(one): [row[one.name] for row in trials] for one in SHOWN},
    }


def _unnested(of: Sequence[Column[Any]], name: str) -> FromClause:
    """Rows from one array a column, with their place from 1 on."""
    # Without its length: a cast to it would cut a text that is too long, and not refuse it.
    types = [Words() if isinstance(one.type, Word) else one.type for one in of]
    names = [column(one.name, kind) for one, kind in zip(of, types, strict=True)]
    arrays = [
        bindparam(_bound(one), type_=ARRAY(kind)) for one, kind in zip(of, types, strict=True)
    ]
    rows = func.unnest(*arrays).table_valued(*names, with_ordinality="place")
    return rows.render_derived(name=name)


def _of(rows: FromClause, columns: Sequence[Column[Any]]) -> list[ColumnElement[Any]]:
    return [rows.c[one.name] for one in columns]


def _job() -> ColumnElement[Any]:
    return bindparam("job", type_=schema.jobs.c.id.type)


def _bound(one: Column[Any]) -> str:
    table: Table = one.table
    return f"{table.name}_{one.name}"
