"""Lines that a job's drivers and trials printed."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from automata_svc.spec.wire.base import Answer

MAX_LINES = 5_000  # in one page
DEFAULT_LINES = 1_000


class LogLine(Answer):
    """One line."""

    number: Annotated[int, Field(ge=1, description="From 1, within this log.")]
    text: str


class LogLines(Answer):
    """Lines in order."""

    lines: tuple[LogLine, ...]
    next: Annotated[int, Field(ge=0, description="Give it as `after` to get what follows.")]
    end: Annotated[bool, Field(description="The job is over, and nothing follows.")] = False

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {"lines": [{"number": 1, "text": "epoch 1: loss 0.62"}], "next": 1, "end": False}
            ]
        },
    )
