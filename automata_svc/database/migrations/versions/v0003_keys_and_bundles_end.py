"""What nobody asks for any more ends: idempotency keys after a day, bundles that no job names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A day from their submission on, as new ones; but those of `retry`, which last as long as the job.
KEYS = (
    "UPDATE submission_keys SET expires_at = "
    "(SELECT jobs.created_at + 86400.0 FROM jobs WHERE jobs.id = submission_keys.job_id) "
    "WHERE key NOT LIKE 'retry job%'"
)
REF = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})@([0-9a-f]{64})")
AT_ONCE = 500


def upgrade() -> None:
    """Gives keys an end, and finds out from the stored job files which bundle each job names."""
    op.add_column("submission_keys", sa.Column("expires_at", sa.Float(53)))
    op.execute(KEYS)
    op.create_index("submission_keys_by_end", "submission_keys", ["expires_at"])
    op.add_column("bundles", sa.Column("used_at", sa.Float(53), nullable=False, server_default="0"))
    # As if pushed now: whoever pushed it may be about to name it.
    op.get_bind().execute(sa.text("UPDATE bundles SET used_at = :now"), {"now": time.time()})
    uses = op.create_table(
        "bundle_uses",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "kind", "name", "sha256"),
    )
    op.create_index("bundle_uses_by_bundle", "bundle_uses", ["project", "kind", "name", "sha256"])
    rows = list(_uses())
    for start in range(0, len(rows), AT_ONCE):
        op.get_bind().execute(sa.insert(uses), rows[start : start + AT_ONCE])
    op.execute("UPDATE automata_schema SET version = 3")


def _uses() -> Iterator[dict[str, str]]:
    jobs = op.get_bind().execute(
        sa.text(
            "SELECT jobs.id, jobs.project, spec, template FROM submissions "
            "JOIN jobs ON jobs.id = submissions.job_id "
            "WHERE spec LIKE '%@%' OR template LIKE '%\"code\"%'"
        )
    )
    for job, project, spec, template in jobs:
        for kind, name, sha256 in sorted(set(_named(spec, template))):
            yield {
                "job_id": job, "project": project, "kind": kind, "name": name, "sha256": sha256,
            }  # fmt: skip


def _named(spec: str, template: str) -> Iterator[tuple[str, str, str]]:
    """(kind, name, sha256) of what a job's texts name."""
    try:
        trial: Any = json.loads(spec)["spec"]["trial"]
        dataset = trial.get("dataset") or {}
        code = json.loads(template).get("code") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # none of ours
    for kind, text in (
        ("template", trial.get("template")),
        ("dataset", dataset.get("name") if isinstance(dataset, dict) else dataset),
        ("code", trial.get("code")),
    ):
        if isinstance(text, str) and (found := REF.fullmatch(text)):
            yield kind, found[1], found[2]
    if code:
        yield "code", str(code["name"]), str(code["sha256"])
