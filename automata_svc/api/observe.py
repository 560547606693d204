"""The outermost layer: a trace id on every request, its time in /metrics, and no bare 500."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from automata_svc.api.meters import Meters
from automata_svc.api.problems import respond, trace_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})


class Observe:
    """ASGI middleware; see the module's text."""

    def __init__(self, app: App, meters: Meters) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = trace_id(scope)
        began = time.perf_counter()
        code = 0
        is_stream = False

        async def sender(message: Message) -> None:
            nonlocal code, is_stream
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = message["headers"] = [*message.get("headers", ())]
                headers.append((b"x-trace-id", trace.encode()))
                headers.append((b"x-content-type-options", b"nosniff"))
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))  # it is some token's alone
                is_stream = any(
                    name == b"content-type" and value.startswith(b"text/event-stream")
                    for name, value in headers
                )
            await send(message)

        try:
            await self._app(scope, receive, sender)
        except Exception as error:
            if code:  # too late for another answer: the server cuts the connection
                respond(error, scope)
                raise
            await respond(error, scope)(scope, receive, sender)
        finally:
            if code and not is_stream:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._meters.requests.labels(_route(scope), method, str(code)).observe(
                    time.perf_counter() - began
                )


def _route(scope: Scope) -> str:
    """The route's own path, so that there are as many as routes; "none" where none fitted."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"
