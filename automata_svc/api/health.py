"""Is it alive, does it work, and how much of what: for machines that look after it."""

from __future__ import annotations

from typing import Literal

from fastapi import Response
from pydantic import BaseModel

from automata_svc.api.gauges import exposition
from automata_svc.api.needs import World
from automata_svc.api.problems import responses
from automata_svc.api.routing import open_router
from automata_svc.errors import Unavailable

routes = open_router("health")


class Healthy(BaseModel):
    """It is."""

    status: Literal["ok"] = "ok"
    version: str


@routes.get("/healthz", operation_id="is_alive")
async def healthz(world: World) -> Healthy:
    """The process answers."""
    return Healthy(version=world.version)


@routes.get("/readyz", operation_id="is_ready", responses=responses(503))
def readyz(world: World) -> Healthy:
    """The database answers, and the service is not about to stop."""
    if world.draining:
        raise Unavailable("the service is stopping")
    world.service.database.list_jobs(limit=1)
    return Healthy(version=world.version)


@routes.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **responses(503),
    },
)
def metrics(world: World) -> Response:
    """Counters, gauges and histograms; no label names a job, a trial or a token."""
    body, media = exposition(world)
    return Response(body, headers={"Content-Type": media})
