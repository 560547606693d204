"""A job's report, and why a trial stands where it stands."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from automata_svc.spec.wire.base import Answer
from automata_svc.spec.wire.jobs import JobStateName
from automata_svc.spec.wire.trials import Trial

Object = dict[str, Any]


class Result(Answer):
    """What `automata show -o json` prints; keys are only ever added."""

    job_id: str
    name: str
    state: JobStateName
    reason: str
    metric: str
    mode: str
    best: Annotated[Object | None, Field(description="The winner; before there is one, so far.")]
    trials: tuple[Trial, ...]
    rungs: tuple[Object, ...]
    stopped: tuple[Object, ...]
    cost: Object
    savings: Object
    evidence: tuple[Object, ...]
    confirmation: Object | None
    selection: Object
    decisions: tuple[Object, ...]


class Competitor(Answer):
    """A line of the rung's table."""

    rank: int
    trial: int
    metric: float | None
    loss: float | None
    above_cut: bool
    now: str


class Step(Answer):
    """A verdict on the trial."""

    rung: int
    share: float
    verdict: str
    rule: str
    metric: float | None
    loss: float | None
    rank: int | None
    size: int


class WhyTrial(Answer):
    """What `automata why JOB TRIAL -o json` prints."""

    job: str
    trial: int
    state: str
    kind: str
    metric: str
    loss_metric: str
    verdict: Annotated[str, Field(description="One sentence.")]
    params: Object
    origin: str
    share: float
    rule: str
    rung: int | None
    rung_share: float | None
    size: int
    rank: int | None
    cutoff: int | None
    table: tuple[Competitor, ...]
    nearest: tuple[Competitor, ...]
    agrees: bool | None
    path: tuple[Step, ...]
    guard: Object | None
    losses: tuple[Object, ...]
    since: tuple[str, ...]
