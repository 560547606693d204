"""Connections whose requests do not come, or come drop by drop."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from automata_svc.api.connections import HeadsInTime
from tests.api.running import running

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Hurried(HeadsInTime):
    head_s = 0.5


async def app(scope, receive, send) -> None:
    """Takes longer for an answer than a head may take."""
    import asyncio

    await asyncio.sleep(3 * Hurried.head_s)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(app, Hurried) as url:
        yield url


@pytest.fixture
def line(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 10) as one:
        yield one


def test_one_that_says_nothing_is_closed(line: socket.socket) -> None:
    assert line.recv(1) == b""


def test_a_head_that_comes_drop_by_drop_is_not_waited_for(line: socket.socket) -> None:
    with pytest.raises(ConnectionError):
        for _ in range(200):
            line.sendall(b"G")
            time.sleep(0.05)


def test_an_answer_that_takes_long_is_waited_for_and_the_next_head_is_due_anew(
    line: socket.socket,
) -> None:
    for _ in range(2):
        line.sendall(ASK)
        got = b""
        while not got.endswith(b"ok"):
            assert (part := line.recv(1_000)), "it was closed"
            got += part
    line.sendall(ASK[:10])
    assert line.recv(1) == b""
