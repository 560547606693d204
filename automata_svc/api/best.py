"""A job's winner, to take away."""

from __future__ import annotations

from typing import Any

from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from automata_svc.api.needs import Reads, World
from automata_svc.api.params import JobRef
from automata_svc.api.routing import router
from automata_svc.jobs.winner_zip import zip_winner

routes = router("jobs", 404, 409)


_ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "model.pt, params.json, dataset.json, the template, example.py.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@routes.get(
    "/v1/jobs/{job}/best",
    operation_id="get_best",
    response_class=FileResponse,
    responses=_ZIP,
)
def get_best(job: JobRef, caller: Reads, world: World) -> FileResponse:
    """The confirmed winner as files that can be used without this service, in a zip."""
    record = world.hosted.winner(caller, job)
    path = zip_winner(world.service, record.id)
    return FileResponse(
        path,
        media_type="application/zip",
        filename=f"{record.name}-best.zip",
        background=BackgroundTask(path.unlink, missing_ok=True),
    )
