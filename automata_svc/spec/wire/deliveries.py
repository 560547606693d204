"""Webhooks over the wire: what was sent because of a job, and how that went."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from automata_svc.spec.wire.base import Answer, NextPage, Time

DeliveryStatus = Literal["waiting", "delivered", "dead"]


class Delivery(Answer):
    """One message to one receiver."""

    id: Annotated[str, Field(description="Sent as Automata-Delivery; the same at each attempt.")]
    job: str
    project: str
    event: Annotated[str, Field(description="job.succeeded, job.failed, job.cancelled …")]
    receiver: Annotated[str, Field(description="The host; the job's spec has the whole URL.")]
    status: Annotated[DeliveryStatus, Field(description="dead: given up, see `error`.")]
    attempts: int
    error: Annotated[str | None, Field(description="How the last attempt failed.")]
    next_at: Annotated[Time | None, Field(description="Of the next attempt; null: there is none.")]
    created_at: Time
    delivered_at: Time | None

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "dlv_01K0A8S0M2Z7Q4W9X3Y5T6V8R1_418_0",
                    "job": "job_01K0A8S0M2Z7Q4W9X3Y5T6V8R1",
                    "project": "default",
                    "event": "job.succeeded",
                    "receiver": "hooks.example.com",
                    "status": "waiting",
                    "attempts": 2,
                    "error": "answered 503",
                    "next_at": "2026-01-31T12:05:11Z",
                    "created_at": "2026-01-31T12:04:11Z",
                    "delivered_at": None,
                }
            ]
        },
    )


class DeliveryList(Answer):
    """Newest first."""

    items: tuple[Delivery, ...]
    next_page_token: NextPage = None
