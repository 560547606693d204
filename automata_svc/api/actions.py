"""Verbs on a job: pause, resume, stop, clone, retry. Each may be said twice."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response

from automata_svc.api.jobs import ETAG, created
from automata_svc.api.needs import World, Writes
from automata_svc.api.params import IdempotencyKey, JobRef
from automata_svc.api.routing import router
from automata_svc.api.shown import job_answer
from automata_svc.spec.wire.jobs import CloneRequest, Job, Reason

routes = router("jobs", 404, 409)

Why = Annotated[Reason | None, Body()]

_DONE: dict[int | str, dict[str, Any]] = {
    200: {"description": "Done, or asked of whoever drives it.", "headers": ETAG}
}
_MADE: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "A new job was made of it.",
        "headers": {
            **ETAG,
            "Location": {"schema": {"type": "string"}, "description": "The new job's path."},
        },
    }
}


@routes.post("/v1/jobs/{job}:pause", operation_id="pause_job", response_model=Job, responses=_DONE)
def pause(job: JobRef, caller: Writes, world: World, body: Why = None) -> Response:
    """Lets go of the job's slots; its trials go on from their checkpoints when it is resumed."""
    return job_answer(world.hosted.pause(caller, job, _reason(body)))


@routes.post(
    "/v1/jobs/{job}:resume", operation_id="resume_job", response_model=Job, responses=_DONE
)
def resume(job: JobRef, caller: Writes, world: World, body: Why = None) -> Response:
    """Puts a paused job back into its queue."""
    return job_answer(world.hosted.resume(caller, job, _reason(body)))


@routes.post("/v1/jobs/{job}:stop", operation_id="stop_job", response_model=Job, responses=_DONE)
def stop(job: JobRef, caller: Writes, world: World, body: Why = None) -> Response:
    """Ends the job for good: at once where nobody drives it, else its driver does within 1 s."""
    return job_answer(world.hosted.stop(caller, job, _reason(body)))


@routes.post(
    "/v1/jobs/{job}:clone",
    operation_id="clone_job",
    status_code=201,
    response_model=Job,
    responses=_MADE,
)
def clone(
    job: JobRef,
    caller: Writes,
    world: World,
    body: Annotated[CloneRequest | None, Body()] = None,
    key: IdempotencyKey = None,
) -> Response:
    """Submits the same job file again, with changes."""
    asked = body or CloneRequest()
    done = world.hosted.clone(caller, job, asked.set, asked.name, key)
    return created(world, done.head, done.replayed)


@routes.post(
    "/v1/jobs/{job}:retry",
    operation_id="retry_job",
    response_model=Job,
    responses={**_DONE, **_MADE},
)
def retry(job: JobRef, caller: Writes, world: World) -> Response:
    """Starts a job at once that waits after a failed driver; makes a new one of a failed one.

    However often it is said: one new job.
    """
    done = world.hosted.retry(caller, job)
    return created(world, done.head, done.replayed, 200 if done.replayed else 201)


def _reason(body: Reason | None) -> str:
    return body.reason if body is not None else ""
