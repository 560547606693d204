"""Webhooks that were sent, wait to be sent again, or were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import urlsplit

from fastapi import Query

from automata_svc.api.needs import Reads, World
from automata_svc.api.params import DEFAULT_PAGE, PageSize, PageToken, Project
from automata_svc.api.problems import responses
from automata_svc.api.routing import router
from automata_svc.spec.wire.deliveries import Delivery, DeliveryList, DeliveryStatus

if TYPE_CHECKING:
    from automata_svc.database import DeliveryRow

JOB = r"^[A-Za-z0-9][-_A-Za-z0-9]*$"

routes = router("webhooks")


@routes.get("/v1/deliveries", operation_id="list_deliveries", responses=responses(404))
def ls(
    caller: Reads,
    world: World,
    job: Annotated[
        str | None,
        Query(pattern=JOB, max_length=100, description="Only this job's: its id, or its name."),
    ] = None,
    project: Project = None,
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = None,
) -> DeliveryList:
    """What jobs' `notify` led to, and what is still tried; newest first."""
    shown = caller.shown(project)
    job_id = None if job is None else world.hosted.record(caller, job).id
    of = {"list": "deliveries", "project": shown, "job": job_id}
    before = None if page_token is None else world.pages.open(page_token, of)
    rows = world.service.database.list_deliveries(
        shown,
        job_id=job_id,
        limit=page_size + 1,
        before=None if before is None else (before[0], before[1]),
    )
    page = rows[:page_size]
    last = (
        world.pages.seal((page[-1].created_at, page[-1].id), of) if len(rows) > page_size else None
    )
    return DeliveryList(items=tuple(map(_shown, page)), next_page_token=last)


def _shown(row: DeliveryRow) -> Delivery:
    return Delivery(
        id=row.id,
        job=row.job_id,
        project=row.project,
        event=row.event,
        receiver=urlsplit(row.url).hostname or "",
        status=cast(DeliveryStatus, row.status),
        attempts=row.attempts,
        error=row.error,
        next_at=row.next_at if row.status == "waiting" else None,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
    )
