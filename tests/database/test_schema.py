"""What the tables promise before anything is in them."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Table

from automata_svc.database import schema
from automata_svc.database.words import Word, Words
from automata_svc.spec.labels import MAX_LENGTH

BTREE_ROW = 2_700  # bytes: PostgreSQL refuses a longer row of an index
UTF8 = 4  # bytes that a character may have
# Columns of any length whose contents are bounded where they come in.
BOUNDED = {("labels", "value"): MAX_LENGTH}


def indexes() -> list[tuple[Table, str, list[Column]]]:
    found = []
    for table in schema.metadata.sorted_tables:
        named = [*table.indexes, *(one for one in table.constraints if hasattr(one, "columns"))]
        found += [(table, str(one.name or "primary key"), list(one.columns)) for one in named]
    return found


@pytest.mark.parametrize(
    ("table", "columns"),
    [pytest.param(t, c, id=f"{t.name}-{name}") for t, name, c in indexes()],
)
def test_the_longest_row_of_an_index_fits(table: Table, columns: list[Column]) -> None:
    size = 0
    for column in columns:
        if isinstance(column.type, Word):
            size += UTF8 * column.type.length
        elif isinstance(column.type, Words):
            size += UTF8 * BOUNDED[table.name, column.name]
        else:
            size += 8
    assert size < BTREE_ROW
