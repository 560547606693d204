"""Rows of the database as the resources that the wire models describe."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from fastapi import Response

from automata_svc.spec.wire.base import Answer, to_rfc3339
from automata_svc.spec.wire.jobs import Best, Job, TrialCounts, Waiting

if TYPE_CHECKING:
    from automata_svc.database import JobHead, StoredEvent


def job_of(head: JobHead) -> Job:
    """A job at a glance, from its row alone."""
    summary = json.loads(head.summary)
    best = summary.get("best")
    waiting = json.loads(head.waiting) if head.waiting else None
    return Job.model_construct(
        id=head.id,
        name=head.name,
        project=head.project,
        state=head.state,
        reason=summary.get("reason", ""),
        since=summary.get("since") or None,
        waiting=None
        if waiting is None
        else Waiting.model_construct(for_=waiting["for"], since=waiting.get("since")),
        driver=head.driver,
        queue=head.queue,
        priority=head.priority,
        labels=json.loads(head.labels),
        attempt=head.attempt,
        seq=head.seq,
        revision=head.revision,
        created_at=head.created_at,
        updated_at=head.updated_at,
        ended_at=head.ended_at,
        trials=TrialCounts.model_construct(
            planned=summary.get("trials", 0),
            proposed=summary.get("proposed", 0),
            running=summary.get("running", 0),
        ),
        price=summary.get("price", 0.0),
        best=None
        if best is None
        else Best.model_construct(
            trial=best["trial"], value=best["value"], rung=best["rung"], test=best.get("test")
        ),
    )


def answer(model: Answer, status: int = 200, **headers: str) -> Response:
    """A model as JSON."""
    return raw(model.model_dump_json(by_alias=True), status, **headers)


def raw(text: str | bytes, status: int = 200, **headers: str) -> Response:
    """JSON text that stands already; header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(text, status, named, "application/json")


def job_answer(head: JobHead, status: int = 200, **headers: str) -> Response:
    """A job, with the ETag that a change of it is based on."""
    text = job_of(head).model_dump_json(by_alias=True)
    return raw(text, status, etag=etag(head.revision, text), **headers)


def etag(revision: int, text: str) -> str:
    """Another one for each other text; a change is based on the revision in it alone."""
    return f'"{revision}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"'


def event_text(event: StoredEvent) -> str:
    """An event as the wire model has it; its body is passed on as it was stored."""
    head: dict[str, Any] = {"seq": event.seq, "at": to_rfc3339(event.at), "kind": event.kind}
    return f'{json.dumps(head)[:-1]}, "body": {event.body}}}'


def frame(event: StoredEvent) -> bytes:
    """An event as a stream has it: one message, its number the id."""
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {event_text(event)}\n\n".encode()
