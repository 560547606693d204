"""Pushing templates, datasets and code: announce, send in chunks, finish."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Header, Path, Request, Response
from starlette.exceptions import HTTPException

from automata_svc.api.needs import Pushes, World
from automata_svc.api.params import Project
from automata_svc.api.problems import responses
from automata_svc.api.routing import router
from automata_svc.api.shown import answer
from automata_svc.api.world import ServiceWorld
from automata_svc.jobs.uploads import Uploads
from automata_svc.spec.bundle import MAX_BYTES
from automata_svc.spec.wire.bundles import Bundle, Upload, UploadRequest

if TYPE_CHECKING:
    from automata_svc.database import BundleRow, UploadRow

CHUNK = "application/octet-stream"

routes = router("uploads", 404, 409)

UploadId = Annotated[
    str,
    Path(
        pattern=r"^upl_[0-9a-f]{32}$",
        max_length=40,
        openapi_examples={"id": {"value": "upl_5e0c4f0a8f0d4f6f9a50c2f3f0f6a1b2"}},
    ),
]
Offset = Annotated[
    int,
    Header(
        alias="Upload-Offset", ge=0, le=max(MAX_BYTES.values()), description="Of the first byte."
    ),
]


async def _body(request: Request) -> bytes:
    """The bytes; runs after the token was looked at."""
    return await request.body()


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The next bytes: at most 16 MiB, less where the operator says so.",
        "content": {CHUNK: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_BEGUN: dict[int | str, dict[str, Any]] = {
    200: {"model": Upload, "description": "The same was pushed before: nothing is to be sent."},
    201: {"model": Upload, "description": "It waits for bytes, from `received` on."},
}


@routes.post(
    "/v1/uploads",
    operation_id="begin_upload",
    status_code=201,
    response_model=Upload,
    responses=_BEGUN,
)
def begin(body: UploadRequest, caller: Pushes, world: World, project: Project = None) -> Response:
    """Announces bytes. Said again, it goes on with what was begun, or says that all is there."""
    begun = _uploads(world).begin(caller, project, body.kind, body.name, body.sha256, body.size)
    if begun.upload is None:
        assert begun.bundle is not None
        return answer(_done(begun.bundle))
    shown = _shown(begun.upload)
    return answer(shown, 201, location=f"/v1/uploads/{begun.upload.id}")


@routes.get("/v1/uploads/{upload}", operation_id="get_upload", response_model=Upload)
def get(upload: UploadId, caller: Pushes, world: World) -> Response:
    """How far it is."""
    return answer(_shown(_uploads(world).look(caller, upload)))


@routes.patch(
    "/v1/uploads/{upload}",
    operation_id="send_chunk",
    response_model=Upload,
    openapi_extra=_BODY,
    responses=responses(415),
)
def send(
    upload: UploadId,
    caller: Pushes,
    world: World,
    offset: Offset,
    data: Annotated[bytes, Depends(_body)],
    request: Request,
) -> Response:
    """Takes the next bytes. They are safe when this answers; 409 says where it goes on."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != CHUNK:
        raise HTTPException(415, f"a chunk is {CHUNK}, not '{media or 'none'}'")
    return answer(_shown(_uploads(world).receive(caller, upload, offset, data)))


@routes.post("/v1/uploads/{upload}:finish", operation_id="finish_upload", response_model=Bundle)
def finish(upload: UploadId, caller: Pushes, world: World) -> Response:
    """Checks digest and contents, and keeps it; with mistakes in it, it is thrown away."""
    return answer(bundle_of(_uploads(world).finish(caller, upload)))


@routes.delete("/v1/uploads/{upload}", operation_id="give_up_upload", status_code=204)
def give_up(upload: UploadId, caller: Pushes, world: World) -> Response:
    """Throws away what has come."""
    _uploads(world).give_up(caller, upload)
    return Response(status_code=204)


# ---- below --------------------------------------------------------------------------------------


def _uploads(world: ServiceWorld) -> Uploads:
    return Uploads(world.service.bundles, world.clock)


def _shown(row: UploadRow) -> Upload:
    return Upload.model_construct(
        id=row.id,
        kind=row.kind,
        name=row.name,
        sha256=row.sha256,
        size=row.size,
        received=row.received,
        done=False,
        bundle=None,
    )


def _done(row: BundleRow) -> Upload:
    return Upload.model_construct(
        id=None,
        kind=row.kind,
        name=row.name,
        sha256=row.sha256,
        size=row.size,
        received=row.size,
        done=True,
        bundle=bundle_of(row),
    )


def bundle_of(row: BundleRow) -> Bundle:
    """A bundle on the wire."""
    return Bundle.model_construct(
        ref=f"{row.name}@{row.sha256}",
        kind=row.kind,
        name=row.name,
        sha256=row.sha256,
        size=row.size,
        project=row.project,
        created_at=row.created_at,
        manifest=json.loads(row.manifest),
    )
