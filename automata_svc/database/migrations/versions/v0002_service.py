"""What a service keeps: who runs a job and how, projections, tokens, bundles, uploads, webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The trial that an old event's body begins with, as in {"trial":7,…
TRIALS = {
    "sqlite": "UPDATE events SET trial = CAST(substr(body, 10) AS INTEGER) "
    "WHERE body LIKE '{\"trial\":%'",
    "postgresql": "UPDATE events SET trial = "
    "CAST(substring(body from '^\\{\"trial\":([0-9]{1,9})') AS INTEGER) "
    "WHERE body LIKE '{\"trial\":%'",
}


def upgrade() -> None:
    _jobs()
    _events()
    _projections()
    _beside_jobs()
    op.execute("UPDATE automata_schema SET version = 2")


def _jobs() -> None:
    for column in (
        sa.Column("driver", sa.String(16), nullable=False, server_default="cli"),
        sa.Column("queue", sa.String(63), nullable=False, server_default="default"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="50"),
        sa.Column("labels", sa.Text, nullable=False, server_default="{}"),
        sa.Column("created_by", sa.String(64)),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("driver_id", sa.Text),
        sa.Column("not_before", sa.Float(53)),
        sa.Column("waiting", sa.Text),
        sa.Column("slots", sa.Integer),
        sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
        sa.Column("ended_at", sa.Float(53)),
    ):
        op.add_column("jobs", column)
    op.execute(
        "UPDATE jobs SET ended_at = updated_at WHERE state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
    )
    op.create_index("jobs_by_project", "jobs", ["project", "created_at", "id"])
    _partial_index("jobs_not_over", "jobs", ["created_at", "id"], "ended_at IS NULL")
    op.create_table(
        "submission_keys",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("project", "key"),
    )
    op.create_index("submission_keys_by_job", "submission_keys", ["job_id"])
    op.create_table(
        "labels",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name"),
    )
    op.create_index("labels_by_value", "labels", ["name", "value", "job_id"])


def _events() -> None:
    op.add_column("events", sa.Column("trial", sa.Integer))
    op.execute(TRIALS[op.get_bind().dialect.name])
    _partial_index("events_by_trial", "events", ["job_id", "trial", "seq"], "trial IS NOT NULL")


def _projections() -> None:
    op.create_table(
        "trials",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rung", sa.Integer, nullable=False),
        sa.Column("metric", sa.Float(53)),
        sa.Column("loss", sa.Float(53)),
        sa.Column("share", sa.Float(53), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number"),
    )
    op.create_index("trials_by_rank", "trials", ["job_id", "rung", "metric", "number", "state"])
    op.create_table(
        "artefact_uses",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key"),
    )


def _beside_jobs() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("project", sa.String(63)),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53)),
        sa.Column("revoked_at", sa.Float(53)),
        sa.Column("last_used_at", sa.Float(53)),
        sa.UniqueConstraint("hash", name="tokens_by_hash"),
    )
    op.create_table(
        "bundles",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("created_by", sa.String(64)),
        sa.PrimaryKeyConstraint("project", "kind", "name", "sha256"),
    )
    op.create_index("bundles_by_time", "bundles", ["project", "kind", "created_at"])
    op.create_index("bundles_by_digest", "bundles", ["sha256"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
    )
    op.create_index("uploads_by_age", "uploads", ["updated_at"])
    op.create_table(
        "named_leases",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("expires_at", sa.Float(53)),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("event", sa.String(63), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float(53), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("delivered_at", sa.Float(53)),
    )
    op.create_index("deliveries_due", "deliveries", ["status", "next_at"])
    op.create_index("deliveries_by_job", "deliveries", ["job_id", "created_at"])
    op.create_index("deliveries_by_project", "deliveries", ["project", "created_at", "id"])


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
