"""Following a job: each event once and in order, however often the line is cut."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from automata_svc.client.events import follow, stored
from automata_svc.client.http import Http
from automata_svc.errors import Damaged, NotFound, Unavailable
from tests.api.served import serving
from tests.api.test_events import Log


def event(seq: int) -> str:
    data = {"seq": seq, "at": "2026-01-31T12:00:00Z", "kind": "tick", "body": {"alive_s": seq}}
    return f"id: {seq}\nevent: tick\ndata: {json.dumps(data)}\n\n"


class Cut(httpx.SyncByteStream):
    """A stream that breaks off in the middle."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self.text.encode()
        raise httpx.ReadError("the line was cut")


class Server:
    """Holds a log of `last` events; each connection gives `most` of them, then is cut."""

    def __init__(self, last: int, most: int, replies: int = 0, skip: int | None = None) -> None:
        self.last, self.most, self.away, self.skip = last, most, replies, skip
        self.asked: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            self.away -= 1
            raise httpx.ConnectError("refused", request=request)
        after = int(request.headers["last-event-id"])
        self.asked.append(after)
        # The one that the reader has already comes again: it must be dropped.
        numbers = [n for n in range(max(after, 1), self.last + 1) if n != self.skip][: self.most]
        text = ": a sign of life\n\n" + "".join(map(event, numbers))
        headers = {"content-type": "text/event-stream"}
        if numbers and numbers[-1] == self.last:
            text += 'event: end\ndata: {"state": "SUCCEEDED", "seq": 9}\n\n'
            return httpx.Response(200, text=text, headers=headers)
        return httpx.Response(200, stream=Cut(text), headers=headers)

    def http(self) -> Http:
        return Http("http://server", transport=httpx.MockTransport(self), sleep=lambda s: None)


def numbers_of(server: Server, after: int = 0, patience_s: float = 60.0) -> list[int]:
    found = follow(server.http(), "job", after, patience_s=patience_s, sleep=lambda seconds: None)
    return [one.seq for one in found]


@pytest.mark.parametrize("most", [2, 3, 7, 100])
def test_every_event_comes_once_over_lines_that_are_cut(most: int) -> None:
    server = Server(last=20, most=most)
    assert numbers_of(server) == list(range(1, 21))
    assert server.asked == sorted(set(server.asked))  # each line goes on where the last was cut


def test_reading_goes_on_behind_a_number() -> None:
    assert numbers_of(Server(last=9, most=3), after=4) == [5, 6, 7, 8, 9]


def test_a_server_that_is_away_for_a_while_is_waited_for_and_said_once() -> None:
    said: list[str] = []
    server = Server(last=5, most=2, replies=4)
    found = follow(server.http(), "job", say=said.append, sleep=lambda seconds: None)
    assert [one.seq for one in found] == [1, 2, 3, 4, 5]
    assert sum("does not answer" in text for text in said) == sum("back" in text for text in said)


def test_the_time_a_server_is_away_is_counted_anew_each_time() -> None:
    """It comes back, has nothing new to tell for longer than the patience, and is cut again."""
    away_s = 0.05
    said: list[str] = []
    server = Server(last=3, most=3)

    class Quiet(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b": a sign of life\n\n"
            time.sleep(2 * away_s)
            raise httpx.ReadError("the line was cut")

    quiet = [3]

    def answer(request: httpx.Request) -> httpx.Response:
        quiet[0] -= 1
        if quiet[0] < 0:
            return server(request)
        return httpx.Response(200, stream=Quiet(), headers={"content-type": "text/event-stream"})

    http = Http("http://server", transport=httpx.MockTransport(answer))
    found = follow(http, "job", patience_s=away_s, say=said.append, sleep=lambda seconds: None)
    assert [one.seq for one in found] == [1, 2, 3]
    assert ["back" in text for text in said] == [False, True] * 3


def test_one_that_stays_away_ends_it() -> None:
    with pytest.raises(Unavailable):
        numbers_of(Server(last=5, most=2, replies=10**6), patience_s=-1.0)


def test_a_gap_is_not_passed_over() -> None:
    with pytest.raises(Damaged, match="event 3 of job is missing"):
        numbers_of(Server(last=5, most=100, skip=3))


def test_a_problem_is_not_tried_again() -> None:
    http = Http("http://server", transport=httpx.MockTransport(lambda r: httpx.Response(404)))
    with pytest.raises(NotFound):
        list(follow(http, "job"))
    with pytest.raises(NotFound):
        list(stored(http, "job"))


# ---- over real lines ----------------------------------------------------------------------------


class Cutter:
    """Forwards to a server, and cuts each connection after some bytes of its answer."""

    def __init__(self, url: str, draw: random.Random) -> None:
        self._port, self._draw, self.cuts = urlsplit(url).port, draw, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._ask, args=(client,), daemon=True).start()

    def _ask(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            answers = threading.Thread(target=self._answer, args=(client, server), daemon=True)
            answers.start()
            with suppress(OSError):
                while data := client.recv(65536):
                    server.sendall(data)
                server.shutdown(socket.SHUT_RDWR)
            answers.join(10)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        left = self._draw.randint(300, 6_000)  # in the headers, in an event, between two
        with suppress(OSError):
            while left and (data := server.recv(min(left, 1_024))):
                client.sendall(data)
                left -= len(data)
            self.cuts += not left
            client.shutdown(socket.SHUT_RDWR)


def test_lines_that_are_cut_anywhere_lose_and_repeat_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as served, ThreadPoolExecutor(1) as pool:
        log, cutter = Log(served), Cutter(served.url, random.Random(7))
        log.write(50)
        with Http(cutter.url, served.token("jobs:read")) as http:
            found = follow(http, log.job, sleep=lambda seconds: time.sleep(0.002))
            reader = pool.submit(lambda: [one.seq for one in found])
            for _ in range(150):
                log.write(3)
            log.end()
            assert reader.result(30) == list(range(1, log.count + 1))
        cutter.close()
        assert cutter.cuts > 5
