"""A checked job as its row: what is stored of it, whoever takes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from automata_svc.jobs.bundles import code_of, named_by
from automata_svc.jobs.planner import Planned
from automata_svc.jobs.view import resolved
from automata_svc.spec.job import TuneJob
from automata_svc.spec.load import dump_job


def row_of(job: TuneJob, planned: Planned, template_path: str) -> dict[str, Any]:
    """The fields of `Database.create_job` that come from the job itself.

    Args:
        template_path: as it is to be shown; what runs is the text.
    """
    template = planned.template
    return {
        "name": job.metadata.name,
        "project": job.metadata.project,
        "spec": _text(resolved(planned)),
        "plan": _text(planned.plan.to_json()),
        "template": _text(
            {
                "name": template.name,
                "path": template_path,
                "sha256": template.sha256,
                "text": template.text,
                **code_of(planned),
                "job": dump_job(job, "json", defaults=False),
            }
        ),
        "summary": _text({"reason": "submitted", "trials": planned.plan.trials}),
        "queue": job.spec.queue,
        "priority": job.spec.priority,
        "labels": _text(job.metadata.labels),
        "bundles": named_by(planned),
    }


def fingerprint(text: str | bytes, overrides: Sequence[str], project: str) -> str:
    """What an idempotency key stands for: the same text, changed the same way, in one project."""
    raw = text.encode() if isinstance(text, str) else text
    total = hashlib.sha256(raw)
    total.update(json.dumps([*overrides, project]).encode())
    return total.hexdigest()


def retry_key(job: str) -> str:
    """The idempotency key of the one job that a retry makes of this one."""
    return f"retry {job}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
