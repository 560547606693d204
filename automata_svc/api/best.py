"""A job's winner, to take away."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from automata_svc.api.needs import Reads, World
from automata_svc.api.params import JobRef
from automata_svc.api.routing import router
from automata_svc.errors import Unavailable
from automata_svc.jobs import winner_zip

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
async def get_best(job: JobRef, caller: Reads, world: World) -> FileResponse:
    """The confirmed winner as files that can be used without this service, in a zip."""
    record = await run_in_threadpool(world.hosted.winner, caller, job)
    try:  # in no thread: those that wait here would keep them from everybody else
        await asyncio.wait_for(world.packing.acquire(), winner_zip.WAIT_S)
    except TimeoutError:
        raise Unavailable("other winners are being packed; ask again in a moment") from None
    try:
        path = await run_in_threadpool(winner_zip.zip_winner, world.service, record.id)
    finally:
        world.packing.release()
    return FileResponse(
        path,
        media_type="application/zip",
        filename=f"{record.name}-best.zip",
        background=BackgroundTask(path.unlink, missing_ok=True),
    )
