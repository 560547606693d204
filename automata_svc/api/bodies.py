"""Job files as they are sent: JSON or YAML, and nothing else."""

from __future__ import annotations

from email.message import Message
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from automata_svc.spec.wire.examples import JOB_FILE, JOB_TEXT

YAML = ("application/yaml", "text/yaml", "application/x-yaml", "text/x-yaml")


class JobText(NamedTuple):
    """A job file, and which of the two it is said to be."""

    text: bytes
    form: Literal["json", "yaml"]


async def _job_text(request: Request) -> JobText:
    """Reads it; runs after the token was looked at.

    Raises:
        HTTPException: 415, of another media type.
    """
    said = Message()
    said["content-type"] = request.headers.get("content-type", "")
    media, charset = said.get_content_type(), said.get_content_charset("utf-8")
    is_json = media == "application/json" or media.endswith("+json")
    if "content-type" not in request.headers or not (is_json or media in YAML):
        sent = request.headers.get("content-type", "none")
        raise HTTPException(
            415,
            f"a job file is application/json or application/yaml, not '{sent}'; "
            "with curl: -H 'Content-Type: application/yaml' --data-binary @job.yaml",
        )
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise HTTPException(415, f"a job file is UTF-8 text, not {charset}")
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise HTTPException(415, f"a job file comes as it is, not in '{coding}'")
    return JobText(await request.body(), "json" if is_json else "yaml")


JobFile = Annotated[JobText, Depends(_job_text)]


def takes_job() -> dict[str, Any]:
    """The request body of a route with a `JobFile`, for OpenAPI."""
    return {
        "requestBody": {
            "required": True,
            "description": "A job file; README.md has every field.",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/TuneJob"},
                    "examples": {"small": {"value": dict(JOB_FILE)}},
                },
                "application/yaml": {
                    "schema": {"type": "string"},
                    "examples": {"small": {"value": JOB_TEXT}},
                },
            },
        }
    }
