"""Parameters that several routes take, each with what it may be."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Query

from automata_svc.errors import Problem, SpecError
from automata_svc.spec.wire.base import DEFAULT_PAGE, MAX_PAGE

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

JobRef = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][-_A-Za-z0-9]*$",
        max_length=100,
        description="A job's id, a unique beginning of it, or its name (the newest of them).",
        openapi_examples={"id": {"value": "job_01K0A8S0M2Z7Q4W9X3Y5T6V8R1"}},
    ),
]
TrialNumber = Annotated[int, Path(ge=0, lt=2**31, description="From 0.")]
Project = Annotated[
    str | None,
    Query(
        pattern=NAME,
        max_length=63,
        description="Only for tokens that are bound to no project; else the token's own.",
    ),
]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items in one answer.")]
PageToken = Annotated[
    str | None,
    Query(max_length=2_000, description="The next_page_token of the page before; none: the first."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        max_length=255,
        description="Your own word for this very request: sent again within 24 hours, it is done "
        "once; after that it makes something new. With another body it is refused (422).",
    ),
]


def label(text: str | None) -> tuple[str, str] | None:
    """The two parts of `key=value`.

    Raises:
        SpecError: there is no =.
    """
    if text is None:
        return None
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SpecError(Problem("query.label", f"'{text}' is not of the form key=value"))
    return key, value


__all__ = [
    "DEFAULT_PAGE", "NAME", "IdempotencyKey", "JobRef", "PageSize", "PageToken", "Project",
    "TrialNumber", "label",
]  # fmt: skip
