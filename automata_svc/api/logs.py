"""What a job's drivers and trials print."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from automata_svc.api.needs import Reads, World
from automata_svc.api.params import JobRef
from automata_svc.api.routing import router
from automata_svc.api.shown import answer
from automata_svc.spec.wire.logs import DEFAULT_LINES, MAX_LINES, LogLine, LogLines
from automata_svc.tuning.state import JOB_ENDS

routes = router("logs", 404)


@routes.get("/v1/jobs/{job}/logs", operation_id="list_log_lines", response_model=LogLines)
def list_lines(
    job: JobRef,
    caller: Reads,
    world: World,
    trial: Annotated[
        int | None, Query(ge=0, lt=2**31, description="Whose lines; none: the driver's.")
    ] = None,
    after: Annotated[int, Query(ge=0, lt=2**53, description="Only lines behind this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="In one page.")] = DEFAULT_LINES,
) -> Response:
    """Lines in order, some seconds after they were printed."""
    record, page = world.hosted.logs(caller, job, trial, after, limit)
    lines = tuple(LogLine.model_construct(number=one.number, text=one.text) for one in page.lines)
    end = record.state in JOB_ENDS and len(lines) < limit
    return answer(LogLines.model_construct(lines=lines, next=page.next, end=end))
