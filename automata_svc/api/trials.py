"""Trials of a job: pages, one, why it stands where it stands, its curves."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query, Response

from automata_svc.api.needs import Reads, World
from automata_svc.api.params import DEFAULT_PAGE, JobRef, PageSize, PageToken, TrialNumber
from automata_svc.api.routing import router
from automata_svc.api.shown import answer, raw
from automata_svc.jobs.hosted import trial_text
from automata_svc.results.result import plain
from automata_svc.spec.wire.results import WhyTrial
from automata_svc.spec.wire.trials import (
    Curve,
    Curves,
    Trial,
    TrialList,
    TrialOrder,
    TrialStateName,
)

routes = router("trials", 404)


@routes.get("/v1/jobs/{job}/trials", operation_id="list_trials", response_model=TrialList)
def list_trials(
    job: JobRef,
    caller: Reads,
    world: World,
    state: Annotated[TrialStateName | None, Query(description="Only trials in this.")] = None,
    order: Annotated[
        TrialOrder, Query(description="By number; or the furthest first, then the best.")
    ] = "number",
    page_size: PageSize = DEFAULT_PAGE,
    page_token: PageToken = None,
) -> Response:
    """A job's trials. While it runs, ranks move; a page goes on where the one before it ended."""
    record = world.hosted.record(caller, job)
    of = {"list": "trials", "job": record.id, "state": state, "order": order}
    after = None if page_token is None else world.pages.open(page_token, of)
    rows = world.hosted.trials(record, state=state, order=order, limit=page_size + 1, after=after)
    more = len(rows) > page_size
    rows = rows[:page_size]
    place: tuple[Any, ...] = ()
    if more:
        last = rows[-1]
        place = (last.number,) if order == "number" else (last.rung, last.metric, last.number)
    token = json.dumps(world.pages.seal(place, of) if more else None)
    return raw(f'{{"items": [{", ".join(map(trial_text, rows))}], "next_page_token": {token}}}')


@routes.get("/v1/jobs/{job}/trials/{number}", operation_id="get_trial", response_model=Trial)
def get_trial(job: JobRef, number: TrialNumber, caller: Reads, world: World) -> Response:
    """One trial."""
    return raw(trial_text(world.hosted.trial(caller, job, number)))


@routes.get(
    "/v1/jobs/{job}/trials/{number}/why", operation_id="explain_trial", response_model=WhyTrial
)
def why(job: JobRef, number: TrialNumber, caller: Reads, world: World) -> Response:
    """Why it stands where it stands: its rung's whole table as it was, rebuilt from the log."""
    found = plain(asdict(world.hosted.why(caller, job, number)))
    return raw(json.dumps(found, ensure_ascii=False, allow_nan=False))


@routes.get(
    "/v1/jobs/{job}/trials/{number}/metrics",
    operation_id="get_trial_metrics",
    response_model=Curves,
)
def metrics(
    job: JobRef,
    number: TrialNumber,
    caller: Reads,
    world: World,
    names: Annotated[
        list[Annotated[str, Query(max_length=200, pattern=r"^[^\x00]+$")]],
        Query(max_length=100, description="Only these; none: all it reported."),
    ] = [],  # noqa: B006
    max_points: Annotated[
        int, Query(ge=3, le=10_000, description="Of each curve; more are thinned out (LTTB).")
    ] = 1_000,
) -> Response:
    """What it reported over its share, with the peaks kept."""
    found = world.hosted.curves(caller, job, number, names or None, max_points)
    shown = {
        name: Curve.model_construct(share=one.share, value=one.value, points=one.points)
        for name, one in found.items()
    }
    return answer(Curves.model_construct(trial=number, curves=shown))
