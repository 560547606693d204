"""What wire models are built of: two bases, times, and pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_PAGE = 500
DEFAULT_PAGE = 50

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[-+]\d\d:\d\d)", re.ASCII)
_FIRST_S, _LAST_S = -62_135_596_800.0, 253_402_300_799.0  # years 1 to 9999


class Asked(BaseModel):
    """What a client says: unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """What a client is answered: newer servers may say more."""

    model_config = ConfigDict(frozen=True)


def to_rfc3339(seconds: float) -> str:
    """Unix seconds as text in UTC; seven digits, so that a float of this century comes back."""
    whole, tenths = divmod(round(min(max(seconds, _FIRST_S), _LAST_S) * 10_000_000), 10_000_000)
    at = _EPOCH + timedelta(seconds=whole)
    part = f".{tenths:07d}".rstrip("0") if tenths else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + part + "Z"


def from_rfc3339(text: str) -> float:
    """Unix seconds of such a text.

    Raises:
        ValueError: it is none.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2026-01-31T12:00:00Z")
    day, clock, part, zone = match.groups()
    at = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    whole = (at - _EPOCH) // timedelta(seconds=1)
    return float(f"{whole}{part}") if part and whole >= 0 else whole + float(part or 0)


def _as_time(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return from_rfc3339(value)
        except ValueError as error:
            raise PydanticCustomError("time", "{said}", {"said": str(error)}) from None
    return value


# Unix seconds in Python, RFC 3339 in UTC on the wire.
Time = Annotated[
    float,
    BeforeValidator(_as_time),
    PlainSerializer(to_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.25Z"]}
    ),
]

NextPage = Annotated[
    str | None,
    Field(description="Give it as page_token to get the next page; null: this was the last."),
]
