"""Bodies and paces that are too much: refused in the one shape of every error, by a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import Body, FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.api.limits import BodyLimits, Limits, Rates, rate_headers
from automata_svc.api.problems import install, respond
from automata_svc.errors import SpecError
from tests.api.running import running

LIMITS = Limits(body_bytes=1_000, chunk_bytes=5_000, body_s=0.5)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = FastAPI()
    install(app)
    app.add_middleware(BodyLimits, limits=LIMITS, refuse=respond)

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    @app.post("/parsed")
    def parsed(body: Annotated[dict[str, str], Body()]) -> int:
        return len(body)

    @app.post("/unread")
    def unread() -> str:
        return "done"

    @app.patch("/v1/uploads/{upload}")
    async def chunk(request: Request, upload: str) -> int:
        return len(await request.body())

    with running(app) as address:
        yield address


def pieces(size: int, each: int = 400) -> Iterator[bytes]:
    for start in range(0, size, each):
        yield b"x" * min(each, size - start)


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body = answer.json()
    return (
        answer.status_code == status == body["status"]
        and answer.headers["content-type"] == "application/problem+json"
        and body["type"].endswith(f":{code}")
    )


@pytest.mark.parametrize("path", ["/read", "/parsed"])
def test_a_body_that_says_it_is_too_large_is_refused(url: str, path: str) -> None:
    answer = httpx.post(url + path, content=b"x" * 1_001)
    assert is_problem(answer, 413, "too-large")
    assert "1,001" in answer.json()["detail"] and "1,000" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/read", "/parsed"])
def test_a_body_of_unsaid_length_is_refused_when_it_has_grown_too_large(
    url: str, path: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(url + path, content=pieces(1_001), headers=headers)
    assert is_problem(answer, 413, "too-large")
    assert answer.headers["connection"] == "close"


def test_the_largest_body_that_is_allowed_passes(url: str) -> None:
    assert httpx.post(f"{url}/read", content=b"x" * 1_000).json() == 1_000
    assert httpx.post(f"{url}/read", content=pieces(1_000)).json() == 1_000


def test_a_chunk_of_an_upload_may_be_larger_than_other_bodies(url: str) -> None:
    assert httpx.patch(f"{url}/v1/uploads/7", content=b"x" * 5_000).json() == 5_000
    answer = httpx.patch(f"{url}/v1/uploads/7", content=pieces(5_001))
    assert is_problem(answer, 413, "too-large")
    for sly in ("/v1/uploads", "/read?/v1/uploads/"):
        assert httpx.post(url + sly, content=b"x" * 1_001).status_code == 413


def raw(url: str, sent: bytes) -> bytes:
    """What a server answers to bytes that no client library would send."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 10) as connection:
        connection.sendall(sent)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith((b"}", b'"')):
            more = connection.recv(65536)
            if not more:
                break
            answer += more
        return answer


def test_a_length_that_is_a_lie_changes_nothing(url: str) -> None:
    head = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: "
    assert b" 413 " in raw(url, head + b"999999999999\r\n\r\n").split(b"\r\n")[0]
    chunked = b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    grown = chunked + b"".join(b"190\r\n" + b"x" * 400 + b"\r\n" for _ in range(3))
    assert b" 413 " in raw(url, grown).split(b"\r\n")[0]
    for nonsense in (b"-1", b"abc", b"1_0", b"+5", b"0x10"):
        first = raw(url, head + nonsense + b"\r\n\r\n").split(b"\r\n")[0]
        assert b" 4" in first or first == b"", nonsense


def test_a_body_that_does_not_come_is_not_waited_for_without_end(url: str) -> None:
    head = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nabc"
    answer = raw(url, head)
    assert b" 408 " in answer.split(b"\r\n")[0] and b"3 bytes" in answer


def test_an_answer_that_does_not_wait_for_the_body_is_not_disturbed(url: str) -> None:
    assert httpx.post(f"{url}/unread", content=b"x" * 900).json() == "done"


def test_the_limits_come_from_the_environment_with_every_mistake_named() -> None:
    found = Limits.from_env({"AUTOMATA_MAX_BODY_BYTES": "2e6", "AUTOMATA_RATE_PER_S": "0"})
    assert found.body_bytes == 2_000_000 and found.rate_per_s == 0
    assert Limits.from_env({}) == Limits()
    with pytest.raises(SpecError) as caught:
        Limits.from_env({"AUTOMATA_MAX_BODY_BYTES": "12", "AUTOMATA_RATE_PER_S": "fast"})
    assert len(caught.value.problems) == 2


# ---- the pace -----------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_then_the_pace_holds() -> None:
    clock = Clock()
    rates = Rates(2.0, 3, clock)
    assert [rates.take("a").retry_after_s for _ in range(4)] == [None, None, None, 0.5]
    assert rates.take("b").retry_after_s is None  # another caller's is another bucket
    clock.now += 0.5
    assert rates.take("a").retry_after_s is None
    assert rates.take("a").retry_after_s == 0.5


def test_a_rate_of_zero_is_no_limit() -> None:
    rates = Rates(0.0, 1)
    assert [rates.take("a") for _ in range(100)] == [None] * 100


def test_memory_is_bounded_however_many_callers_there_are() -> None:
    rates = Rates(1.0, 2, Clock(), keys=50)
    for number in range(1_000):
        rates.take(f"caller {number}")
    assert len(rates) == 50


def test_a_caller_who_keeps_asking_is_not_forgotten_among_many_others() -> None:
    rates = Rates(1.0, 1, Clock(), keys=50)
    rates.take("busy")
    for number in range(1_000):
        rates.take(f"caller {number}")
        allowance = rates.take("busy")
        assert allowance is not None and allowance.retry_after_s is not None


@given(st.floats(0.1, 50), st.integers(1, 20), st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_in_any_stretch_no_more_pass_than_the_burst_and_the_pace(
    per_s: float, burst: int, gaps: list[float]
) -> None:
    clock = Clock()
    rates = Rates(per_s, burst, clock)
    taken = []
    for gap in gaps:
        clock.now += gap
        allowance = rates.take("a")
        assert allowance is not None and 0 <= allowance.left <= burst
        if allowance.retry_after_s is None:
            taken.append(clock.now)
        else:
            assert allowance.retry_after_s <= 1 / per_s + 1e-9
    for start in range(len(taken)):
        for end in range(start, len(taken)):
            most = burst + (taken[end] - taken[start]) * per_s
            assert end - start + 1 <= most + 1e-6


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    clock = Clock()
    rates = Rates(1.0, 1, clock)
    rates.take("a")
    clock.now -= 1_000
    assert rates.take("a").retry_after_s == 1.0


def test_the_headers_say_quota_and_what_is_left() -> None:
    allowance = Rates(10.0, 20, Clock()).take("a")
    assert allowance is not None
    assert dict(rate_headers(allowance, 10.0)) == {
        b"ratelimit-policy": b'"token";q=20;w=2',
        b"ratelimit": b'"token";r=19;t=1',
    }
