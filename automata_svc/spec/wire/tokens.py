"""Bearer tokens over the wire: what one is asked to allow, and what a list shows of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema

from automata_svc.spec.scopes import SCOPES
from automata_svc.spec.wire.base import Answer, Asked, NextPage, Time

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
CENTURY_S = 100 * 365 * 86_400.0

Name = Annotated[str, Field(max_length=63, pattern=_NAME)]
# Checked by the service, which names the nearest.
Scope = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(SCOPES)})]

_EXAMPLE: dict[str, Any] = {
    "id": "tok_01K0A8S0M2Z7Q4W9X3Y5T6V8R1",
    "name": "ci-nightly",
    "project": "lang",
    "scopes": ["jobs:read", "jobs:write"],
    "created_at": "2026-01-31T12:00:00.25Z",
    "expires_at": "2026-04-30T12:00:00.25Z",
    "revoked_at": None,
    "last_used_at": None,
}


class TokenRequest(Asked):
    """A token to be made."""

    name: Annotated[Name, Field(description="For people; need not be the only one.")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=20)]
    project: Annotated[
        Name | None,
        Field(description="The only one whose things it reaches; null: all that you reach."),
    ] = None
    expires_in_s: Annotated[
        float | None,
        Field(
            gt=0, le=CENTURY_S, strict=True, description="Seconds from now on; null: never over."
        ),
    ] = None

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "ci-nightly",
                    "scopes": ["jobs:read", "jobs:write"],
                    "project": "lang",
                    "expires_in_s": 7_776_000,
                }
            ]
        },
    )


class Token(Answer):
    """A token without its secret, which is stored nowhere."""

    id: str
    name: str
    project: Annotated[str | None, Field(description="null: every project.")]
    scopes: tuple[str, ...]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Annotated[Time | None, Field(description="To about a minute.")]

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})


class NewToken(Token):
    """A token just made: the only answer that holds its secret."""

    secret: Annotated[str, Field(description="Send it as `Authorization: Bearer …`.")]

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{**_EXAMPLE, "secret": "automata_" + 43 * "x"}]},
    )


class TokenList(Answer):
    """Newest first."""

    items: tuple[Token, ...]
    next_page_token: NextPage = None
