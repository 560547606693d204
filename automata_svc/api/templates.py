"""Templates that jobs can name: those that come with the service, and those that were pushed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path, Response

from automata_svc.api.listing import NAMED, PageOf
from automata_svc.api.needs import ReadsBundles, World
from automata_svc.api.params import DEFAULT_PAGE, PageSize, PageToken, Project
from automata_svc.api.routing import router
from automata_svc.api.shown import answer
from automata_svc.jobs.catalogue import Catalogue
from automata_svc.spec.wire.bundles import Param, Template, TemplateBody, TemplateList

if TYPE_CHECKING:
    from automata_svc.database import BundleRow
    from automata_svc.trials import templates as found

routes = router("templates", 404)

TemplateRef = Annotated[
    str,
    Path(
        pattern=NAMED,
        max_length=165,
        description="A name, or name@sha256 of a pushed one.",
        openapi_examples={"name": {"value": "tabular_mlp"}},
    ),
]


@routes.get("/v1/templates", operation_id="list_templates", response_model=TemplateList)
def ls(
    caller: ReadsBundles,
    world: World,
    project: Project = None,
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = None,
) -> Response:
    """Training programs. The first page has more than `page_size`: those that come along."""
    catalogue = Catalogue(world.service)
    page = PageOf.pushed(world, caller, project, "template", page_size, page_token)
    first = () if page_token is not None else tuple(map(_packaged, catalogue.templates()))
    items = (*first, *map(_pushed, page.rows))
    return answer(TemplateList.model_construct(items=items, next_page_token=page.next_token))


@routes.get("/v1/templates/{template}", operation_id="show_template", response_model=TemplateBody)
def get(
    template: TemplateRef, caller: ReadsBundles, world: World, project: Project = None
) -> Response:
    """One, with its text. It was read, never run."""
    one = Catalogue(world.service).template(caller, project, template)
    is_pushed = "@" in template
    return answer(
        TemplateBody.model_construct(
            **{**_fields(one), "text": one.text},
            ref=template,
            source="pushed" if is_pushed else "packaged",
            created_at=None,
        )
    )


def _fields(one: found.Template) -> dict[str, Any]:
    return {
        "name": one.name,
        "sha256": one.sha256,
        "summary": one.summary,
        "params": tuple(Param.model_construct(**asdict(param)) for param in one.params),
        "own_schedule": one.own_schedule,
    }


def _packaged(one: found.Template) -> Template:
    return Template.model_construct(
        **_fields(one), ref=one.name, source="packaged", created_at=None
    )


def _pushed(row: BundleRow) -> Template:
    said = json.loads(row.manifest)
    return Template.model_construct(
        ref=f"{row.name}@{row.sha256}",
        name=row.name,
        source="pushed",
        sha256=row.sha256,
        summary=said["summary"],
        params=tuple(Param.model_construct(**param) for param in said["params"]),
        own_schedule=said["own_schedule"],
        created_at=row.created_at,
    )
