"""Datasets that jobs can name: those with a name of their own, and those that were pushed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from fastapi import Path, Response

from automata_svc.api.listing import NAMED, PageOf
from automata_svc.api.needs import ReadsBundles, World
from automata_svc.api.params import DEFAULT_PAGE, PageSize, PageToken, Project
from automata_svc.api.routing import router
from automata_svc.api.shown import answer
from automata_svc.datasets import Listed
from automata_svc.jobs.catalogue import Catalogue
from automata_svc.spec.wire.bundles import Dataset, DatasetList, DatasetShape

if TYPE_CHECKING:
    from automata_svc.database import BundleRow

routes = router("datasets", 404)

DatasetRef = Annotated[
    str,
    Path(
        pattern=NAMED,
        max_length=165,
        description="A name, or name@sha256 of a pushed one.",
        openapi_examples={"name": {"value": "digits"}},
    ),
]


@routes.get("/v1/datasets", operation_id="list_datasets", response_model=DatasetList)
def ls(
    caller: ReadsBundles,
    world: World,
    project: Project = None,
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = None,
) -> Response:
    """Datasets. A page may hold more than `page_size`: those with a name are on the first."""
    page = PageOf.pushed(world, caller, project, "dataset", page_size, page_token)
    named = Catalogue(world.service).datasets() if page_token is None else []
    items = (*map(_named, named), *map(_pushed, page.rows))
    return answer(DatasetList.model_construct(items=items, next_page_token=page.next_token))


@routes.get("/v1/datasets/{dataset}", operation_id="show_dataset", response_model=DatasetShape)
def get(
    dataset: DatasetRef, caller: ReadsBundles, world: World, project: Project = None
) -> Response:
    """How one is split and prepared; its files are read and checked for that."""
    shape = Catalogue(world.service).shape(caller, project, dataset)
    return answer(DatasetShape.model_construct(**asdict(shape)))


def _named(one: Listed) -> Dataset:
    return Dataset.model_construct(
        ref=one.name,
        name=one.name,
        source="named",
        about=f"{one.kind}: {one.about}",
        is_here=one.found is not None,
        get=one.get,
        target=None,
        files=(),
        size=None,
        created_at=None,
    )


def _pushed(row: BundleRow) -> Dataset:
    said = json.loads(row.manifest)
    files = tuple(name for name in (said["path"], said["test"], said["val"]) if name)
    return Dataset.model_construct(
        ref=f"{row.name}@{row.sha256}",
        name=row.name,
        source="pushed",
        about=f"{', '.join(files)}" + (f"; target {said['target']}" if said["target"] else ""),
        is_here=True,
        get="",
        target=said["target"],
        files=files,
        size=row.size,
        created_at=row.created_at,
    )
