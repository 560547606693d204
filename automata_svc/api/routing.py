"""What every router here is: bodies read by the strict decoder, and the errors it may answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from automata_svc.api.problems import responses
from automata_svc.errors import SpecError
from automata_svc.spec.decode import decode

# What any route that wants a token may answer, besides what it is for.
COMMON = (401, 403, 413, 422, 429, 500, 503)


class StrictRequest(Request):
    """A request whose JSON is read as job files are: no key twice, no NaN, no NUL, no bombs."""

    async def json(self) -> Any:
        """The decoded body; what is none is said later, once it is known who asks."""
        body = await self.body()
        try:
            return decode(body, "body.json")
        except SpecError as error:
            self.state.unread_body = SpecError(error.problems)
            return _UNREAD


_UNREAD = object()  # fits no model, so that the request is refused where its body is checked


class StrictRoute(APIRoute):
    """Reads bodies strictly, and only after the token was looked at."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strictly


def router(tag: str, *statuses: int) -> APIRouter:
    """A router for one resource.

    Args:
        tag: its heading in the OpenAPI document.
        statuses: what its routes may answer besides `COMMON`: 404, 409 …
    """
    return APIRouter(
        tags=[tag], route_class=StrictRoute, responses=responses(*sorted({*COMMON, *statuses}))
    )


def open_router(tag: str) -> APIRouter:
    """A router for what needs no token."""
    return APIRouter(tags=[tag], route_class=StrictRoute)
