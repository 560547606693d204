"""Ask and tell: what a client that trains the trials itself says, and what it is answered.

The same objects are used without a wire (`connect().ask`), so that both speak one language.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from automata_svc.errors import SpecError
from automata_svc.spec.wire.base import Answer, Asked

MAX_WAIT_S = 30.0  # an ask may be held that long: below what proxies usually cut
MAX_COUNT = 100  # guess: trials one client holds at a time
MAX_VALUES = 1_000  # guess: metrics in one report

Decision = Literal["continue", "wait", "stop"]


def _as_reported(value: Any) -> float:
    """A number as training may give it, those that are not finite as well (JSON: as text)."""
    if value is None:
        return math.nan
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", 'is not a number (or "nan", "inf", "-inf", or null)')
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _plain(value: Any) -> Any:
    """A numpy or torch scalar as Python's own number; anything else as it is."""
    item = getattr(value, "item", None)
    return item() if item is not None and getattr(value, "ndim", 0) == 0 else value


def _as_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_REPORTED_SCHEMA = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "enum": sorted(_NOT_FINITE)},
        {"type": "null"},
    ],
    "description": 'A number; what is not finite as "nan", "inf" or "-inf" (null: "nan").',
}
Reported = Annotated[
    float,
    BeforeValidator(_as_reported),
    PlainSerializer(_as_json, when_used="json"),
    WithJsonSchema(_REPORTED_SCHEMA),
]
ClientId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:@/+]{0,199}$",
        description="Your own name for this client: the same after a restart, unlike any other.",
    ),
]
Key = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Line = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"^[^\x00-\x1f]+$")]
Detail = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"^[^\x00]+$")]


class AskRequest(Asked):
    """A client that could train."""

    client_id: ClientId
    count: Annotated[
        int,
        Field(
            strict=True, ge=1, le=MAX_COUNT, description="Trials this client would hold at a time."
        ),
    ] = 1
    wait_s: Annotated[
        float,
        Field(
            strict=True,
            ge=0,
            le=MAX_WAIT_S,
            description="To be held until there is something to train.",
        ),
    ] = 0.0

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"client_id": "gpu-1", "wait_s": 30}]},
    )


class Order(Answer):
    """One segment that this client is to train, or is training."""

    trial: int
    segment: Annotated[int, Field(description="From 0; goes back with every report.")]
    params: Annotated[
        dict[str, Any], Field(description="The trial's own, and those of spec.trial.settings.")
    ]
    share: Annotated[
        float, Field(description="Told so far, of a full training: what is told next is above it.")
    ]
    until_share: Annotated[
        float, Field(description="Train until here, then tell: the objective's value is due.")
    ]
    from_share: Annotated[
        float, Field(description="The share of `checkpoint`: train on from there; 0: from scratch.")
    ]
    checkpoint: Annotated[
        str | None, Field(description="The latest, as the client named it that told of it.")
    ] = None
    reason: Annotated[str, Field(description="Why this segment: proposed, promoted, retry …")] = ""


class AskAnswer(Answer):
    """Trials to train; or how long to wait, and for what; or that the job is over."""

    trials: tuple[Order, ...] = ()
    wait: Annotated[
        float | None, Field(description="Seconds after which to ask again; trials is empty.")
    ] = None
    done: Annotated[
        str | None, Field(description="How the job ended: SUCCEEDED, FAILED or CANCELLED.")
    ] = None
    reason: str = ""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "trials": [
                        {
                            "trial": 3,
                            "segment": 0,
                            "params": {"lr": 0.012, "depth": 4},
                            "share": 0.0,
                            "until_share": 0.02,
                            "from_share": 0.0,
                            "checkpoint": None,
                            "reason": "proposed",
                        }
                    ],
                    "wait": None,
                    "done": None,
                    "reason": "",
                }
            ]
        },
    )


class TellRequest(Asked):
    """How far a segment is, with its values; or that it failed."""

    client_id: ClientId
    segment: Annotated[int, Field(strict=True, ge=0, lt=2**31), BeforeValidator(_plain)]
    share: (
        Annotated[
            float,
            Field(strict=True, gt=0, le=1, description="Of a full training, reached so far."),
            BeforeValidator(_plain),
        ]
        | None
    ) = None
    values: Annotated[
        dict[Key, Reported],
        Field(
            max_length=MAX_VALUES,
            description="Metrics by name; at `until_share` the objective's must be among them.",
        ),
    ] = {}
    loss: Annotated[
        Reported | None, Field(description="Training loss since the last report; for guards.")
    ] = None
    grad_norm: Annotated[
        Reported | None, Field(description="Gradient norm since the last report; for guards.")
    ] = None
    checkpoint: Annotated[
        Line | None,
        Field(description="Your name for the checkpoint at `share`, given to whoever goes on."),
    ] = None
    done: Annotated[
        bool,
        Field(
            strict=True,
            description="The training ended by itself: the values stand for `until_share`.",
        ),
    ] = False
    failed: Annotated[
        Detail | None, Field(description="Why it cannot go on; instead of a share.")
    ] = None
    retry: Annotated[
        bool, Field(strict=True, description="With failed: whether another try may help.")
    ] = False

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "client_id": "gpu-1",
                    "segment": 0,
                    "share": 0.02,
                    "values": {"val_accuracy": 0.81, "val_loss": 0.62},
                    "checkpoint": "/models/trial-3.pt",
                },
                {"client_id": "gpu-1", "segment": 0, "failed": "out of memory", "retry": True},
            ]
        },
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> TellRequest:
        if (self.share is None) == (self.failed is None):
            raise PydanticCustomError(
                "tell", "takes a share (with values) or failed (with a reason), one of the two"
            )
        if self.failed is None and self.retry:
            raise PydanticCustomError("tell", "retry goes with failed")
        return self


class TellAnswer(Answer):
    """What to do now.

    continue: train on to `until_share` and tell again. wait: put the trial down, keep its
    checkpoint, and ask; it, or another, may come. stop: the trial is over; ask for another.
    """

    decision: Decision
    until_share: Annotated[
        float | None, Field(description="With continue: where the next value is due.")
    ] = None
    reason: str = ""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {"decision": "continue", "until_share": 0.06, "reason": "best 3 of the 9 go on"}
            ]
        },
    )


_Request = TypeVar("_Request", AskRequest, TellRequest)


def read(model: type[_Request], fields: Mapping[str, Any]) -> _Request:
    """A request from what somebody wrote; what is None was left out.

    Raises:
        SpecError: with every mistake.
    """
    from automata_svc.spec.words import problems_of

    try:
        return model.model_validate({k: v for k, v in fields.items() if v is not None})
    except ValidationError as error:
        raise SpecError(problems_of(error, model)) from None
