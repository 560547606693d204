"""Connections that have to say what they want: what uvicorn waits for as long as it takes."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class HeadsInTime(H11Protocol):
    """Closes a connection on which the head of a request is due and does not come.

    Nobody needs a token to connect, and a thousand connections that say nothing are all that a
    process can have. (How long a body may take is said by `api.limits`; how long a connection is
    kept between two requests, by uvicorn.)
    """

    head_s = 20.0  # guess: some round trips of a bad line
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _look(self) -> None:
        if self.conn.their_state is not h11.IDLE:  # a head has come, or nothing more will
            self._forget()
        elif self._due is None:
            self._due = self.loop.call_later(self.head_s, self.transport.close)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
