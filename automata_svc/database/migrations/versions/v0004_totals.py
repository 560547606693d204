"""Totals that outlive their jobs; those that are over already are counted as such."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    totals = op.create_table(
        "totals",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("labels", sa.String(255), nullable=False),
        sa.Column("value", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels"),
    )
    rows = [
        *_counted("jobs", ("queue", "state")),
        *_counted("jobs_submitted", ("project",)),
    ]
    if rows:
        op.get_bind().execute(sa.insert(totals), rows)
    op.execute("UPDATE automata_schema SET version = 4")


def _counted(name: str, columns: tuple[str, ...]) -> list[dict[str, object]]:
    """How many jobs that are over have the same values in some columns."""
    listed = ", ".join(columns)
    found = op.get_bind().execute(
        sa.text(f"SELECT {listed}, count(*) FROM jobs WHERE ended_at IS NOT NULL GROUP BY {listed}")
    )
    return [
        {
            "name": name,
            "labels": json.dumps(dict(zip(columns, row, strict=False))),
            "value": float(row[-1]),
        }
        for row in found
    ]
