"""Stored model-free subsets that the caller's jobs can read."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response

from automata_svc.api.needs import Reads, World
from automata_svc.api.params import DEFAULT_PAGE, PageSize, PageToken, Project
from automata_svc.api.routing import router
from automata_svc.api.shown import answer
from automata_svc.jobs.catalogue import Catalogue, as_subset
from automata_svc.spec.wire.bundles import Subset, SubsetList

routes = router("subsets", 404)

SubsetKey = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{4,64}$",
        max_length=64,
        description="Its key, or enough of its beginning to be the only one.",
        openapi_examples={"key": {"value": "3f2a9c41"}},
    ),
]


@routes.get("/v1/subsets", operation_id="list_subsets", response_model=SubsetList)
def ls(
    caller: Reads,
    world: World,
    project: Project = None,
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = None,
) -> Response:
    """The newest first: those of the project, of its jobs, and those that are shared by all."""
    of = {"list": "subsets", "caller": caller.project, "project": project}
    found = Catalogue(world.service).subsets(caller, project)
    if page_token is not None:
        created, key = world.pages.open(page_token, of)
        found = [one for one in found if (one.created, one.key) < (created, key)]
    more = len(found) > page_size
    found = found[:page_size]
    last = world.pages.seal((found[-1].created, found[-1].key), of) if more else None
    items = tuple(Subset.model_construct(**as_subset(one)) for one in found)
    return answer(SubsetList.model_construct(items=items, next_page_token=last))


@routes.get("/v1/subsets/{key}", operation_id="show_subset", response_model=Subset)
def get(key: SubsetKey, caller: Reads, world: World, project: Project = None) -> Response:
    """What one was made from, and what it holds."""
    found = Catalogue(world.service).subset(caller, project, key)
    return answer(Subset.model_construct(**as_subset(found)))
