"""How much of the service one caller can take: bytes of a body, its time, requests a second.

Every figure is an operator's to change (`Limits.from_env`); the README lists them.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from automata_svc.errors import (
    AutomataError,
    Problem,
    SpecError,
    TooLarge,
    TooSlow,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[AutomataError, Scope], App]  # an error as the response that says it

UPLOADS = "/v1/uploads"
KEYS = 10_000  # callers whose pace is kept; the one that was silent longest is forgotten first


@dataclass(frozen=True)
class Limits:
    """What one request, and one token, may take."""

    body_bytes: int = 1_100_000  # a job file of 1,000,000 bytes (spec.decode) in its envelope
    chunk_bytes: int = 16 * 2**20  # of one PATCH of an upload
    body_s: float = 60.0  # guess: for a whole body to arrive; slow senders hold a connection
    rate_per_s: float = 200.0  # guess: four times what one client was measured to submit
    burst: float = 400.0  # requests at once after a silence

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Limits:
        """AUTOMATA_MAX_BODY_BYTES, _MAX_CHUNK_BYTES, _BODY_TIMEOUT_S, _RATE_PER_S, _BURST.

        A rate of 0 takes the limit away.

        Raises:
            SpecError: one is not a number, or is too small to be meant.
        """
        env = os.environ if env is None else env
        problems: list[Problem] = []

        def number(name: str, default: float, least: float) -> float:
            text = env.get(name) or ""
            try:
                value = float(text) if text else default
            except ValueError:
                value = math.nan
            if least <= value < math.inf:
                return value
            problems.append(Problem(name, f"'{text}' is no number of at least {least:g}"))
            return default

        base = cls()
        body = number("AUTOMATA_MAX_BODY_BYTES", base.body_bytes, 1_000)
        chunk = number("AUTOMATA_MAX_CHUNK_BYTES", base.chunk_bytes, 1_000)
        body_s = number("AUTOMATA_BODY_TIMEOUT_S", base.body_s, 1)
        rate = number("AUTOMATA_RATE_PER_S", base.rate_per_s, 0)
        burst = number("AUTOMATA_BURST", max(1.0, 2 * rate), 1)
        if problems:
            raise SpecError(problems)
        return cls(int(body), int(chunk), body_s, rate, burst)

    def of_path(self, path: str) -> int:
        """Bytes that a body sent to `path` may have."""
        is_upload = path.startswith(UPLOADS + "/")
        return self.chunk_bytes if is_upload else self.body_bytes


# ---- requests a second --------------------------------------------------------------------------


@dataclass(frozen=True)
class Allowance:
    """What a caller may still do, after this request."""

    burst: int  # requests at once after a silence
    left: int  # requests that would be taken now
    full_s: float  # seconds until all of the burst is there again
    retry_after_s: float | None  # None: this one was taken; else seconds to the next that is


class Rates:
    """A token bucket for each key; safe between threads, and bounded in memory."""

    def __init__(
        self,
        per_s: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        keys: int = KEYS,
    ) -> None:
        """
        Args:
            per_s: requests a second in the long run; 0: no limit.
            burst: most requests at once, ≥ 1.
            clock: seconds, never going back.
            keys: how many callers are remembered.
        """
        self._per_s, self._burst, self._clock, self._keys = per_s, max(1.0, burst), clock, keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, as of
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> Allowance | None:
        """Counts one request of `key`; None where there is no limit."""
        if self._per_s <= 0:
            return None
        with self._lock:
            now = self._clock()
            left, since = self._buckets.pop(key, (self._burst, now))
            left = min(self._burst, left + max(0.0, now - since) * self._per_s)
            wait = None if left >= 1 else (1 - left) / self._per_s
            left = left - 1 if wait is None else left
            self._buckets[key] = (left, now)  # at the end: the last one to be forgotten
            while len(self._buckets) > self._keys:
                self._buckets.popitem(last=False)
        return Allowance(int(self._burst), int(left), (self._burst - left) / self._per_s, wait)


def rate_headers(allowance: Allowance, per_s: float) -> list[tuple[bytes, bytes]]:
    """RateLimit-Policy and RateLimit, as the IETF draft has them: a quota per window of seconds."""
    window = max(1, math.ceil(allowance.burst / per_s))
    return [
        (b"ratelimit-policy", f'"token";q={allowance.burst};w={window}'.encode()),
        (b"ratelimit", f'"token";r={allowance.left};t={math.ceil(allowance.full_s)}'.encode()),
    ]


# ---- bodies -------------------------------------------------------------------------------------


class BodyLimits:
    """ASGI middleware: refuses bodies that are too large or too slow, whatever their headers say.

    A declared length that is too large is refused before a byte is read; a body without one, or
    with more than it declared, when it passes the limit. Also puts the rate headers that
    `api.auth.allowed` left in `scope["state"]["rate_headers"]` onto the answer.
    """

    def __init__(self, app: App, limits: Limits, refuse: Refuse) -> None:
        self._app, self._limits, self._refuse = app, limits, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._limits.of_path(scope["path"])
        declared = _declared(scope)
        if declared is not None and declared > most:
            await self._answer(_too_large(most, declared), scope, receive, send)
            return
        body = _Body(scope, receive, send, most, self._limits.body_s)
        try:
            await self._app(scope, body.receive, body.send)
        except Exception:
            if body.refusal is None:  # else: what the app made of a body that never came whole
                raise
        if body.refusal is not None and not body.started:
            await self._answer(body.refusal, scope, receive, send)

    async def _answer(
        self, error: AutomataError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The rest of the body is not read, so nothing else can come over this connection.
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._refuse(error, scope)(scope, receive, closing)


class _Body:
    """One request's body on its way in, counted and timed; and what is answered."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, most: int, body_s: float
    ) -> None:
        self.refusal: AutomataError | None = None
        self.started = False  # an answer is on its way
        self._scope, self._receive, self._send = scope, receive, send
        self._most, self._body_s = most, body_s
        self._seen = 0
        self._whole = False
        self._deadline: float | None = None

    async def receive(self) -> Message:
        if self._whole:  # what comes now is a disconnect, and may take for ever
            return await self._receive()
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._body_s
        try:
            async with asyncio.timeout(max(0.0, self._deadline - now)):
                message = await self._receive()
        except TimeoutError:
            self.refusal = TooSlow(
                f"the body did not arrive within {self._body_s:g} s; {self._seen:,} bytes did. "
                "Send it in smaller pieces"
            )
            raise self.refusal from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._seen > self._most:
                self.refusal = _too_large(self._most, None)
                raise self.refusal
        return message

    async def send(self, message: Message) -> None:
        if self.refusal is not None and not self.started:
            return  # the app's own words for it; ours are better
        if message["type"] == "http.response.start":
            self.started = True
            more = self._scope.get("state", {}).get("rate_headers", ())
            message["headers"] = [*message.get("headers", ()), *more]
        await self._send(message)


def _declared(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def _too_large(most: int, declared: int | None) -> TooLarge:
    said = "more" if declared is None else f"{declared:,} bytes"
    return TooLarge(f"a body may have {most:,} bytes here, and this one has {said}")
