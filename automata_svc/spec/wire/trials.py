"""Trials of a job: rows, pages, curves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from automata_svc.spec.wire.base import Answer, NextPage

TrialStateName = Literal[
    "PENDING", "RUNNING", "WAITING", "COMPLETED", "PRUNED", "STOPPED", "FAILED", "CANCELLED"
]
TrialOrder = Literal["number", "rank"]

_EXAMPLE: dict[str, Any] = {
    "number": 3,
    "state": "PRUNED",
    "reason": "rung 1: the best 9 of 27 go on",
    "kind": "rung",
    "params": {"lr": 0.012, "hidden": 64},
    "origin": "random",
    "rung": 1,
    "share": 0.02,
    "metric": 0.81,
    "loss": 0.62,
    "price": 0.021,
    "passes": 4,
    "segments": 1,
    "retries": 0,
    "values": [{"rung": 1, "share": 0.02, "metric": 0.81, "loss": 0.62}],
}


class RungValue(Answer):
    rung: int
    share: float
    metric: float | None
    loss: float | None


class Trial(Answer):
    """One configuration and what became of it."""

    number: int
    state: TrialStateName
    reason: str
    kind: Annotated[str, Field(description="What ended it: rung, guard, failed, budget, user …")]
    params: dict[str, Any]
    origin: str
    rung: Annotated[int, Field(description="Rungs reached.")]
    share: Annotated[float, Field(description="Trained so far; 1: one full training.")]
    metric: float | None
    loss: float | None
    price: float | None
    passes: int
    segments: int
    retries: int
    values: tuple[RungValue, ...]

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})


class TrialList(Answer):
    """By number, or the furthest first, then the best."""

    items: tuple[Trial, ...]
    next_page_token: NextPage = None


class Curve(Answer):
    """One metric of a trial over share, thinned out to keep its shape."""

    share: tuple[float, ...]
    value: tuple[float | None, ...]
    points: Annotated[int, Field(description="How many there were before thinning.")]


class Curves(Answer):
    """Metrics of a trial by name."""

    trial: int
    curves: dict[str, Curve]

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "trial": 3,
                    "curves": {"loss": {"share": [0.01, 0.02], "value": [1.1, 0.62], "points": 2}},
                }
            ]
        },
    )
