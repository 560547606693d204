"""Jobs: submit, list, look at, change, delete."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header, Query, Response
from starlette.exceptions import HTTPException

from automata_svc.api.bodies import JobFile, takes_job
from automata_svc.api.needs import Reads, World, Writes
from automata_svc.api.params import (
    DEFAULT_PAGE,
    NAME,
    IdempotencyKey,
    JobRef,
    PageSize,
    PageToken,
    Project,
    label,
)
from automata_svc.api.problems import responses
from automata_svc.api.routing import router
from automata_svc.api.shown import answer, job_answer, job_of, raw
from automata_svc.api.world import ServiceWorld
from automata_svc.jobs.protocol import PlanView
from automata_svc.spec.labels import MAX_LENGTH
from automata_svc.spec.wire.jobs import Job, JobList, JobPatch, JobStateName, Plan, TemplateText
from automata_svc.spec.wire.results import Result

routes = router("jobs")

Sets = Annotated[
    list[Annotated[str, Query(max_length=10_000)]],
    Query(
        alias="set",
        max_length=100,
        description="path=value, as `automata tune --set` takes them; in order.",
    ),
]

ETAG: dict[str, Any] = {
    "ETag": {"schema": {"type": "string"}, "description": "Give it as If-Match with a PATCH."}
}
_CREATED: dict[int | str, dict[str, Any]] = {
    200: {"model": Plan, "description": "With validate_only: what the job would do."},
    201: {
        "model": Job,
        "description": "Stored; it waits for its turn.",
        "headers": {
            **ETAG,
            "Location": {"schema": {"type": "string"}, "description": "The job's path."},
            "Idempotency-Replayed": {
                "schema": {"type": "string", "enum": ["true"]},
                "description": "An earlier request of this key made the job.",
            },
        },
    },
}


@routes.post(
    "/v1/jobs",
    operation_id="submit_job",
    status_code=201,
    response_model=Job,
    responses={**_CREATED, **responses(400, 409, 415)},
    openapi_extra=takes_job(),
)
def submit(
    caller: Writes,
    world: World,
    body: JobFile,
    project: Project = None,
    sets: Sets = [],  # noqa: B006 (FastAPI copies it)
    validate_only: Annotated[bool, Query(description="Store nothing; answer the plan.")] = False,
    key: IdempotencyKey = None,
) -> Response:
    """Takes a job file, checked against its template and dataset; all mistakes come at once."""
    if validate_only:
        return answer(plan_of(world.hosted.plan(caller, body.text, sets, project, body.form)))
    done = world.hosted.submit(caller, body.text, sets, project, key, body.form)
    return created(world, done.head, done.replayed)


@routes.get("/v1/jobs", operation_id="list_jobs", response_model=JobList, responses=responses(404))
def list_jobs(
    caller: Reads,
    world: World,
    project: Project = None,
    state: Annotated[
        list[JobStateName], Query(max_length=8, description="Only jobs in one of these.")
    ] = [],  # noqa: B006
    name: Annotated[str | None, Query(pattern=NAME, max_length=63)] = None,
    labelled: Annotated[
        str | None,
        Query(
            alias="label",
            max_length=2 * MAX_LENGTH + 1,
            pattern=rf"^[^\x00=]{{1,{MAX_LENGTH}}}=[^\x00]{{0,{MAX_LENGTH}}}$",
            description="Only jobs with this label: key=value, each of up to 63 characters.",
            openapi_examples={"team": {"value": "team=lang"}},
        ),
    ] = None,
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = None,
) -> Response:
    """Jobs, newest first."""
    of = {
        "list": "jobs", "caller": caller.project, "project": project, "state": sorted(state),
        "name": name, "label": labelled,
    }  # fmt: skip
    before = None if page_token is None else world.pages.open(page_token, of)
    heads = world.hosted.jobs(
        caller,
        project=project,
        states=state,
        name=name,
        label=label(labelled),
        limit=page_size + 1,
        before=None if before is None else (before[0], before[1]),
    )
    more = len(heads) > page_size
    heads = heads[:page_size]
    last = world.pages.seal((heads[-1].created_at, heads[-1].id), of) if more else None
    return answer(JobList.model_construct(items=tuple(map(job_of, heads)), next_page_token=last))


@routes.get(
    "/v1/jobs/{job}",
    operation_id="get_job",
    response_model=Job,
    responses={**responses(404), 200: {"headers": ETAG}},
)
def get_job(job: JobRef, caller: Reads, world: World) -> Response:
    """One job at a glance."""
    return job_answer(world.hosted.record(caller, job))


@routes.patch(
    "/v1/jobs/{job}",
    operation_id="change_job",
    response_model=Job,
    responses={**responses(404, 409, 412, 428), 200: {"headers": ETAG}},
)
def change(
    job: JobRef,
    caller: Writes,
    world: World,
    body: JobPatch,
    if_match: Annotated[
        str | None,
        Header(max_length=1_000, description="The ETags that the change may be based on, or *."),
    ] = None,
) -> Response:
    """Changes priority, queue, labels, parallelism, whom to tell and how long to keep.

    By JSON merge-patch: what is left out stays.
    """
    values = body.model_dump(mode="json", exclude_unset=True)
    if if_match is None:
        world.hosted.record(caller, job)
        raise HTTPException(
            428, "send If-Match with the ETag of the job as you know it, or If-Match: *"
        )
    return job_answer(world.hosted.change(caller, job, values, _revisions(if_match)))


@routes.delete(
    "/v1/jobs/{job}",
    operation_id="delete_job",
    status_code=204,
    responses=responses(404, 409),
)
def delete(job: JobRef, caller: Writes, world: World) -> Response:
    """Removes a job that is over: its log, its files, everything."""
    world.hosted.delete(caller, job)
    return Response(status_code=204)


# ---- what a job is made of ----------------------------------------------------------------------

ANY_OBJECT = {"schema": {"type": "object"}}


@routes.get(
    "/v1/jobs/{job}/spec",
    operation_id="get_job_spec",
    responses={**responses(404), 200: {"content": {"application/json": ANY_OBJECT}}},
)
def get_spec(job: JobRef, caller: Reads, world: World) -> Response:
    """The job file with every default written out."""
    return raw(world.hosted.record(caller, job).spec)


@routes.get(
    "/v1/jobs/{job}/plan",
    operation_id="get_job_plan",
    responses={**responses(404), 200: {"content": {"application/json": ANY_OBJECT}}},
)
def get_plan(job: JobRef, caller: Reads, world: World) -> Response:
    """What was decided before it started, as `tuning.plan.SearchPlan` has it."""
    return raw(world.hosted.record(caller, job).plan)


@routes.get(
    "/v1/jobs/{job}/template",
    operation_id="get_job_template",
    response_model=TemplateText,
    responses=responses(404),
)
def get_template(job: JobRef, caller: Reads, world: World) -> Response:
    """The program that the job's trials run."""
    return raw(world.hosted.record(caller, job).template)


@routes.get(
    "/v1/jobs/{job}/result",
    operation_id="get_job_result",
    response_model=Result,
    responses=responses(404),
)
def get_result(job: JobRef, caller: Reads, world: World) -> Response:
    """Everything about a job, so far or final: what `automata show -o json` prints."""
    import json

    found = world.hosted.result(caller, job)
    return raw(json.dumps(found, ensure_ascii=False, allow_nan=False))


# ---- below --------------------------------------------------------------------------------------


def created(world: ServiceWorld, head: Any, replayed: bool, status: int = 201) -> Response:
    """The answer that a job was made; `replayed`: by an earlier request."""
    more = {"idempotency_replayed": "true"} if replayed else {}
    return job_answer(head, status, location=f"/v1/jobs/{head.id}", **more)


def plan_of(view: PlanView) -> Plan:
    """A plan as JSON can hold it."""
    from dataclasses import asdict

    from automata_svc.results.result import plain

    return Plan.model_validate(plain(asdict(view)))


_ETAG = re.compile(r'(?:W/)?"(\d{1,9})-[0-9a-f]{12}"')


def _revisions(if_match: str) -> frozenset[int] | None:
    """The revisions that a change may be based on; None: any."""
    asked = [part.strip() for part in if_match.split(",")]
    if "*" in asked:
        return None
    return frozenset(int(match[1]) for part in asked if (match := _ETAG.fullmatch(part)))
