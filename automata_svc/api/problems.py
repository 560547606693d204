"""Every error as application/problem+json, by one table: kind of error → status, code, title."""

from __future__ import annotations

import json
import logging
import math
import re
import secrets
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from automata_svc import errors
from automata_svc.errors import AutomataError, SpecError
from automata_svc.spec.wire.problems import MEDIA_TYPE, TYPE_PREFIX, Problem, ProblemItem

log = logging.getLogger("automata.api")

RETRY_AFTER_S = 1  # guess: a busy or restarting database is back about then


@dataclass(frozen=True)
class Kind:
    """How one kind of error is said over HTTP."""

    status: int
    code: str  # the last part of the problem's type
    title: str


# The most special class of an error that is in the table counts.
ERRORS: Mapping[type[Exception], Kind] = MappingProxyType(
    {
        errors.SpecError: Kind(422, "invalid", "Not usable as written"),
        errors.UnknownName: Kind(422, "unknown-name", "No such name"),
        errors.NotFound: Kind(404, "not-found", "Not found"),
        errors.Conflict: Kind(409, "conflict", "Not possible in this state"),
        errors.Stale: Kind(412, "stale", "It was changed in the meantime"),
        errors.KeyReused: Kind(422, "key-reused", "The key was used for another request"),
        errors.Unauthenticated: Kind(401, "unauthenticated", "A valid token is needed"),
        errors.Denied: Kind(403, "denied", "Not allowed"),
        errors.TooLarge: Kind(413, "too-large", "Too large"),
        errors.TooSlow: Kind(408, "too-slow", "It took too long to arrive"),
        errors.TooMany: Kind(429, "too-many", "Too many requests"),
        errors.Unavailable: Kind(503, "unavailable", "Not available now"),
        errors.Damaged: Kind(500, "damaged", "Stored bytes are damaged"),
        AutomataError: Kind(500, "failed", "It failed"),
    }
)

# What the framework refuses by itself, and what has a status of its own in HTTP.
STATUSES: Mapping[int, Kind] = MappingProxyType(
    {
        400: Kind(400, "bad-request", "Not a request that can be read"),
        404: Kind(404, "no-such-path", "No such path"),
        405: Kind(405, "method-not-allowed", "The path does not take this method"),
        406: Kind(406, "not-acceptable", "Nothing of the accepted media types is given here"),
        413: Kind(413, "too-large", "Too large"),
        415: Kind(415, "unsupported-media-type", "Not a media type that is taken here"),
        428: Kind(428, "precondition-required", "The request must say what it is based on"),
    }
)
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
INTERNAL = Kind(500, "internal", "Something went wrong here")
INVALID = ERRORS[errors.SpecError]

Scope = MutableMapping[str, Any]


def kind_of(error: Exception) -> Kind:
    """How an error is said."""
    for cls in type(error).__mro__:
        if cls in ERRORS:
            return ERRORS[cls]
    return INTERNAL


def trace_id(scope: Scope) -> str:
    """The request's own: the one of its traceparent, or a new one; the same every time."""
    state = scope.setdefault("state", {})
    if "trace_id" not in state:
        state["trace_id"] = _given_trace(scope) or secrets.token_hex(16)
    found: str = state["trace_id"]
    return found


def _given_trace(scope: Scope) -> str | None:
    """The trace id of a W3C traceparent header that is one."""
    for name, value in scope.get("headers", ()):
        if name == b"traceparent":
            match = _TRACEPARENT.match(value)
            return match[1].decode() if match is not None else None
    return None


def respond(error: Exception, scope: Scope) -> Response:
    """The response that says an error; what is not ours is logged, and nothing of it is told."""
    kind = kind_of(error)
    headers: dict[str, str] = {}
    items: list[ProblemItem] = []
    detail = str(error)
    if kind is INTERNAL:
        log.error(
            "%s %s failed, trace %s", scope.get("method"), _instance(scope), trace_id(scope),
            exc_info=error,
        )  # fmt: skip
        detail = "the cause stands in the server's log beside this trace_id"
    elif kind.status >= 500:
        log.warning("%s %s: %s, trace %s", scope.get("method"), _instance(scope), error,
                    trace_id(scope))  # fmt: skip
    if isinstance(error, SpecError):
        items = [ProblemItem(pointer=p.pointer, code=kind.code, detail=p.message)
                 for p in error.problems]  # fmt: skip
    if isinstance(error, errors.TooMany):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="automata"'
    return _response(kind, detail, items, scope, headers)


def _response(
    kind: Kind,
    detail: str,
    items: list[ProblemItem],
    scope: Scope,
    headers: Mapping[str, str] | None = None,
) -> Response:
    problem = Problem(
        type=TYPE_PREFIX + kind.code,
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=_instance(scope),
        errors=tuple(items),
        trace_id=trace_id(scope),
    )
    # Half a surrogate pair in what a client sent must not break the answer that quotes it.
    body = json.dumps(problem.model_dump(), ensure_ascii=True).encode()
    return Response(body, kind.status, dict(headers or {}), MEDIA_TYPE)


def _instance(scope: Scope) -> str:
    return quote(str(scope.get("path", "")), safe="/:@!$&'()*+,;=~-._", errors="replace")


# ---- what the framework raises ------------------------------------------------------------------


async def _ours(request: Request, error: Exception) -> Response:
    return respond(error, request.scope)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, AutomataError):  # a body that a middleware refused
        return respond(error.__cause__, request.scope)
    kind = STATUSES.get(error.status_code)
    if kind is None:
        kind = Kind(error.status_code, f"http-{error.status_code}", "Refused")
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"there is nothing at {_instance(request.scope)}; /v1/openapi.json lists the paths"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        takes = ", ".join(_methods(request.app, request.scope["path"]))
        headers = {"Allow": takes}
        detail = f"{request.method} is not taken here; what is: {takes}"
    return _response(kind, detail, [], request.scope, headers)


def _methods(app: FastAPI, path: str) -> list[str]:
    """What may be done at a path, by all its routes together."""
    found: set[str] = set()
    for route in iter_route_contexts(app.routes):
        regex, _, _ = compile_path(route.path or "/")
        if regex.fullmatch(path):
            found |= set(route.methods or ())
    return sorted(found)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    unread = getattr(request.state, "unread_body", None)
    if unread is not None:
        return respond(unread, request.scope)
    items: dict[ProblemItem, None] = {}
    for one in error.errors():
        items[_item(one)] = None
    found = list(items)
    lines = [f"{item.pointer}: {item.detail}" if item.pointer else item.detail for item in found]
    detail = lines[0] if len(lines) == 1 else f"{len(lines)} mistakes: " + "; ".join(lines)
    return _response(INVALID, detail, found, request.scope)


def _item(one: Mapping[str, Any]) -> ProblemItem:
    from automata_svc.spec.words import pointer_of

    where, *rest = one["loc"]
    pointer = pointer_of(rest)
    if where != "body":
        pointer = f"{where}.{pointer}" if pointer else str(where)
    return ProblemItem(pointer=pointer, code=str(one["type"]).replace("_", "-"), detail=one["msg"])


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem."""
    app.add_exception_handler(AutomataError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


# ---- for OpenAPI --------------------------------------------------------------------------------


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route declares of its errors."""
    titles = {**{k.status: k.title for k in STATUSES.values()},
              **{k.status: k.title for k in ERRORS.values()}}  # fmt: skip
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": titles[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }
