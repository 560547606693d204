"""The one shape of every error: RFC 9457, application/problem+json."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from automata_svc.spec.wire.base import Answer

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:automata:problem:"


class ProblemItem(Answer):
    """One mistake in what was sent."""

    pointer: Annotated[
        str, Field(description="Where: spec.space.lr, query.page_size; empty: the whole.")
    ]
    code: str
    detail: Annotated[str, Field(description="What was asked, what is wrong, what would be right.")]


class Problem(Answer):
    """Why a request was not done."""

    type: Annotated[str, Field(description=f"{TYPE_PREFIX}… : one per kind of error, stable.")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: Annotated[str, Field(description="The path that was asked for.")]
    errors: tuple[ProblemItem, ...] = ()
    trace_id: Annotated[str, Field(description="Stands in the server's log beside the cause.")]

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": f"{TYPE_PREFIX}invalid",
                    "title": "Not usable as written",
                    "status": 422,
                    "detail": "spec.budget.trials: is missing, e.g. 27",
                    "instance": "/v1/jobs",
                    "errors": [
                        {
                            "pointer": "spec.budget.trials",
                            "code": "invalid",
                            "detail": "is missing, e.g. 27",
                        }
                    ],
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                }
            ]
        },
    )

    @property
    def code(self) -> str:
        """The last part of `type`: invalid, not-found, conflict …"""
        return self.type.removeprefix(TYPE_PREFIX)
