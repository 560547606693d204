"""Webhooks that were sent, wait to be sent again, or were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import urlsplit

from fastapi import Path, Query

from automata_svc.api.needs import Reads, World, Writes
from automata_svc.api.params import DEFAULT_PAGE, JobRef, PageSize, PageToken, Project
from automata_svc.api.problems import responses
from automata_svc.api.routing import router
from automata_svc.api.world import ServiceWorld
from automata_svc.spec.wire.deliveries import Delivery, DeliveryList, DeliveryStatus

if TYPE_CHECKING:
    from automata_svc.database import DeliveryRow

JOB = r"^[A-Za-z0-9][-_A-Za-z0-9]*$"

DeliveryRef = Annotated[
    str,
    Path(
        pattern=JOB,
        max_length=128,
        description="A delivery's id.",
        openapi_examples={"id": {"value": "dlv_01K0A8S0M2Z7Q4W9X3Y5T6V8R1_418_0"}},
    ),
]

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
    return _page(world, shown, job_id, page_size, page_token)


@routes.get(
    "/v1/jobs/{job}/deliveries", operation_id="list_job_deliveries", responses=responses(404)
)
def of_job(
    job: JobRef,
    caller: Reads,
    world: World,
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = None,
) -> DeliveryList:
    """What this job's `notify` led to; newest first."""
    record = world.hosted.record(caller, job)
    return _page(world, record.project, record.id, page_size, page_token)


@routes.post(
    "/v1/jobs/{job}/deliveries/{delivery}:redeliver",
    operation_id="redeliver",
    responses=responses(404, 409),
)
def redeliver(job: JobRef, delivery: DeliveryRef, caller: Writes, world: World) -> Delivery:
    """Has a webhook that was given up sent again, as often as a new one; said twice, it is once."""
    return _shown(world.hosted.redeliver(caller, job, delivery))


def _page(
    world: ServiceWorld, project: str | None, job_id: str | None, size: int, token: str | None
) -> DeliveryList:
    of = {"list": "deliveries", "project": project, "job": job_id}
    before = None if token is None else world.pages.open(token, of)
    rows = world.service.database.list_deliveries(
        project,
        job_id=job_id,
        limit=size + 1,
        before=None if before is None else (before[0], before[1]),
    )
    page = rows[:size]
    last = world.pages.seal((page[-1].created_at, page[-1].id), of) if len(rows) > size else None
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
