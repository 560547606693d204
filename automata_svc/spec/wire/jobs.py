"""Jobs: what is shown of one, lists of them, and what may be changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from automata_svc.spec.job import NotifySpec, RetentionSpec
from automata_svc.spec.labels import MAX_LABELS, MAX_LENGTH
from automata_svc.spec.wire.base import Answer, Asked, NextPage, Time

JobStateName = Literal[
    "QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING", "SUCCEEDED", "FAILED", "CANCELLED"
]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
LabelKey = Annotated[str, Field(min_length=1, max_length=MAX_LENGTH, pattern=r"^[^\x00]*$")]
LabelValue = Annotated[str, Field(max_length=MAX_LENGTH, pattern=r"^[^\x00]*$")]

EXAMPLE_JOB: dict[str, Any] = {
    "id": "job_01K0A8S0M2Z7Q4W9X3Y5T6V8R1",
    "name": "letter-mlp",
    "project": "default",
    "state": "RUNNING",
    "reason": "driver started",
    "since": "2026-01-31T12:00:03.5Z",
    "waiting": None,
    "driver": "service",
    "queue": "default",
    "priority": 50,
    "labels": {"team": "lang"},
    "attempt": 1,
    "seq": 418,
    "revision": 0,
    "created_at": "2026-01-31T12:00:00.25Z",
    "updated_at": "2026-01-31T12:04:11Z",
    "ended_at": None,
    "trials": {"planned": 27, "proposed": 27, "running": 2},
    "price": 1.31,
    "best": {"trial": 11, "value": 0.912, "rung": 2, "test": None},
}


class Waiting(Answer):
    """Why a job does not run, or not on."""

    for_: Annotated[
        str,
        Field(alias="for", description="quota, priority, capacity, back-off … and what of it"),
    ]
    since: Time | None = None

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class TrialCounts(Answer):
    planned: int
    proposed: int
    running: int


class Best(Answer):
    """The best trial so far; once there is a winner, that."""

    trial: int
    value: float | None
    rung: Annotated[int | None, Field(description="From 1; null: confirmed on all rows.")]
    test: dict[str, float | None] | None = None


class Job(Answer):
    """One search, at a glance."""

    id: str
    name: str
    project: str
    state: JobStateName
    reason: Annotated[str, Field(description="Why it is in that state.")]
    since: Annotated[Time | None, Field(description="In that state since.")]
    waiting: Annotated[Waiting | None, Field(description="Why it is not running, where it waits.")]
    driver: Annotated[
        Literal["cli", "service", "external"],
        Field(description="Who drives it; external: clients train its trials by ask and tell."),
    ]
    queue: str
    priority: int
    labels: dict[str, str]
    attempt: Annotated[int, Field(description="Drivers started so far.")]
    seq: Annotated[int, Field(description="Number of its last event.")]
    revision: Annotated[int, Field(description="Goes up with each change by PATCH; see ETag.")]
    created_at: Time
    updated_at: Time
    ended_at: Time | None
    trials: TrialCounts
    price: Annotated[float, Field(description="Spent so far, in full trainings.")]
    best: Best | None

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [EXAMPLE_JOB]})


class JobList(Answer):
    """Newest first."""

    items: tuple[Job, ...]
    next_page_token: NextPage = None


class JobPatch(Asked):
    """What may be changed of a job, by JSON merge-patch: what is left out stays.

    A label given as null is removed; receivers are replaced as a whole. Anything else that is null
    becomes what a job file has that does not say it: parallelism, all free slots (fewer than before
    are given back when a segment ends). A job has up to 64 labels, keys and values of up to 63
    characters.
    """

    priority: Annotated[int, Field(ge=0, le=100, strict=True)] | None = None
    queue: (
        Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None
    ) = None
    labels: (
        Annotated[dict[LabelKey, LabelValue | None], Field(max_length=2 * MAX_LABELS)] | None
    ) = None
    notify: Annotated[tuple[NotifySpec, ...], Field(max_length=100)] | None = None
    retention: RetentionSpec | None = None
    parallelism: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"priority": 80, "parallelism": 4, "labels": {"paper": "milo", "old": None}}
            ]
        },
    )


class Reason(Asked):
    """Why somebody asks for it; may be left out."""

    # No control characters: it is shown in other people's terminals.
    reason: Annotated[
        str, Field(max_length=1_000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")
    ] = ""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"reason": "wrong data"}]}
    )


class CloneRequest(Asked):
    """The same job again, with changes."""

    name: (
        Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None
    ) = None
    set: Annotated[
        tuple[Annotated[str, Field(max_length=10_000)], ...],
        Field(max_length=100, description="path=value, as `automata tune --set` takes them"),
    ] = ()

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"name": "letter-again", "set": ["search.seed=1"]}]},
    )


class Chosen(Answer):
    """A value in the plan, and why."""

    value: Any
    reason: str


class RungPlan(Answer):
    """A rung as `automata plan` prints it."""

    asked: float
    share: float
    rows: int
    steps: tuple[int, int]
    trials: int
    keep: int | None
    price: float


class Plan(Answer):
    """What a job will do, and cost; nothing was started."""

    job: Annotated[dict[str, Any], Field(description="The file with every default written out.")]
    chosen: Annotated[dict[str, Chosen], Field(description="By pointer: spec.subset.fraction …")]
    dataset: dict[str, Any]
    rungs: tuple[RungPlan, ...]
    price: Annotated[float, Field(description="Of the whole job, in full trainings.")]
    price_search: float
    price_confirm: float
    expected: dict[str, Any] | None
    artefact: dict[str, Any] | None
    warnings: tuple[str, ...]


class TemplateText(Answer):
    """The program that the job's trials run."""

    name: str
    path: str
    sha256: str
    text: str
    job: Annotated[str, Field(description="The job file as it was given, without defaults.")] = ""
