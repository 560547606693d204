"""Following a job: every event once and in order, however often the stream breaks."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from automata_svc.api import events as api_events
from automata_svc.database import this_process
from automata_svc.jobs import feed
from automata_svc.spec.wire.events import Event, EventList
from tests.api.served import Served, serving

STREAM = {"Accept": "text/event-stream"}


@dataclass
class Message:
    id: int | None = None
    event: str | None = None
    data: list[str] = field(default_factory=list)


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """The messages of a stream, as the HTML standard reads them; comments are passed over."""
    one = Message()
    for line in lines:
        if line == "":
            if one.event is not None or one.data:
                yield one
            one = Message()
        name, _, value = line.partition(": ")
        if name == "id":
            one.id = int(value)
        elif name == "event":
            one.event = value
        elif name == "data":
            one.data.append(value)


class Log:
    """Writes any number of small events into a job's log, as its driver would."""

    def __init__(self, served: Served) -> None:
        self.job = served.submit("written")
        self._database = served.world.service.database
        self._token = self._database.take_lease(self.job, this_process(), 600.0)
        self.count = 0

    def write(self, events: int = 1, size: int = 0) -> None:
        body = json.dumps({"alive_s": 1.0, "v": 1, "fill": "x" * size})
        self._database.append(self.job, self._token, [("tick", body)] * events, time.time())
        self.count += events

    def end(self) -> None:
        body = json.dumps({"state": "SUCCEEDED", "reason": "done", "time": 0.0, "v": 1})
        self._database.append(
            self.job, self._token, [("job_state", body)], time.time(), state="SUCCEEDED"
        )
        self.count += 1
        self._database.release(self.job, self._token)


def follow(served: Served, job: str, after: int | None = None) -> tuple[list[int], Message]:
    """The numbers of all events that a stream sends, and its last message."""
    headers = {**STREAM, **({} if after is None else {"Last-Event-ID": str(after)})}
    with served.client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = list(messages(answer.iter_lines()))
    return [one.id for one in found if one.id is not None], found[-1]


# ---- pages --------------------------------------------------------------------------------------


def test_pages_hold_the_log_as_it_is_stored(served, done):
    stored = served.world.service.events(done)
    found: list[Event] = []
    after, end = 0, False
    while not end:
        answer = served.client.get(
            f"/v1/jobs/{done}/events", params={"after": after, "limit": 7}
        ).json()
        page = EventList.model_validate(answer)
        found += page.events
        after, end = page.next, page.end
    assert [(one.seq, one.at, one.kind, one.body) for one in found] == stored


def test_the_end_of_a_page_is_not_the_end_of_a_job_that_goes_on(served):
    log = Log(served)
    log.write(3)
    page = served.client.get(f"/v1/jobs/{log.job}/events").json()
    assert (page["next"], page["end"]) == (3, False)
    later = served.client.get(f"/v1/jobs/{log.job}/events", params={"after": 3}).json()
    assert (later["events"], later["next"], later["end"]) == ([], 3, False)
    log.end()


@pytest.mark.parametrize("after", ["-1", "x", "1e3", "99999999999999999999", "1000000"])
def test_a_place_that_is_none_is_refused(served, done, after):
    answer = served.client.get(f"/v1/jobs/{done}/events", params={"after": after})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query.after"


# ---- streams ------------------------------------------------------------------------------------


def test_a_stream_of_a_finished_job_sends_everything_and_ends(served, done):
    numbers, last = follow(served, done)
    head = served.client.get(f"/v1/jobs/{done}").json()
    assert numbers == list(range(1, head["seq"] + 1))
    assert last.event == "end"
    assert json.loads(last.data[0]) == {"state": "SUCCEEDED", "seq": head["seq"]}


def test_a_message_is_the_event_that_a_page_has(served, done):
    page = served.client.get(f"/v1/jobs/{done}/events").json()["events"]
    with served.client.stream("GET", f"/v1/jobs/{done}/events", headers=STREAM) as answer:
        sent = [one for one in messages(answer.iter_lines()) if one.id is not None]
    assert [json.loads(one.data[0]) for one in sent] == page
    assert [one.event for one in sent] == [event["kind"] for event in page]


def test_a_stream_goes_on_behind_the_last_event_id(served, done):
    numbers, _ = follow(served, done, after=5)
    assert numbers[0] == 6
    assert follow(served, done, after=numbers[-1])[0] == []


@pytest.mark.parametrize("bad", ["-1", "x", "", "5.0", "9" * 30, "1000000", "5, 6", "ü"])
def test_a_last_event_id_that_is_none_is_refused(served, done, bad):
    headers = {**STREAM, "Last-Event-ID": bad.encode()}
    answer = served.client.get(f"/v1/jobs/{done}/events", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "header.last-event-id"


def test_readers_that_come_at_any_time_all_get_every_event_once(served):
    log = Log(served)
    log.write(700)  # older than what is kept for readers
    with ThreadPoolExecutor(20) as pool:
        readers = []
        for step in range(20):
            readers.append(pool.submit(follow, served, log.job))
            log.write(1 + 40 * (step % 5))
        log.end()
        for reader in readers:
            numbers, last = reader.result(30)
            assert numbers == list(range(1, log.count + 1))
            assert last.event == "end"


def test_what_is_larger_than_what_is_kept_comes_too(served):
    log = Log(served)
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(follow, served, log.job) for _ in range(3)]
        for _ in range(6):
            log.write(3, size=feed.KEPT_BYTES // 2)
            log.write(1, size=2 * feed.KEPT_BYTES)
        log.end()
        for reader in readers:
            assert reader.result(30)[0] == list(range(1, log.count + 1))


def test_a_reader_whose_connection_breaks_misses_nothing(served):
    log = Log(served)
    log.write(100)
    seen: list[int] = []
    for _ in range(10):
        headers = {**STREAM, "Last-Event-ID": str(seen[-1] if seen else 0)}
        with served.client.stream("GET", f"/v1/jobs/{log.job}/events", headers=headers) as answer:
            for one in messages(answer.iter_lines()):
                seen.append(one.id)
                if len(seen) % 7 == 0:
                    break
        log.write(2)
    log.end()
    seen += follow(served, log.job, after=seen[-1])[0]
    assert seen == list(range(1, log.count + 1))


def test_readers_that_left_are_forgotten(served):
    log = Log(served)
    log.write(1)
    with served.client.stream("GET", f"/v1/jobs/{log.job}/events", headers=STREAM) as answer:
        coming = messages(answer.iter_lines())
        next(coming)
        assert served.world.feed.readers == 1
    assert eventually(lambda: served.world.feed.readers == 0)
    log.end()


def eventually(check: Any, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_quiet_stream_shows_that_it_lives(served, monkeypatch):
    monkeypatch.setattr(api_events, "HEARTBEAT_S", 0.05)
    log = Log(served)
    with served.client.stream("GET", f"/v1/jobs/{log.job}/events", headers=STREAM) as answer:
        lines = answer.iter_lines()
        comments = [line for line, _ in zip(lines, range(12), strict=False) if line[:1] == ":"]
    assert len(comments) >= 3
    log.end()


@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_stream_ends_when_its_token_does_and_goes_on_with_another(
    served, monkeypatch, end, is_busy
):
    monkeypatch.setattr(api_events, "HEARTBEAT_S", 0.1)
    tokens = served.world.tokens
    row, secret = tokens.create("reader", ["jobs:read"], expires_in_s=3_600)
    mine = {**STREAM, "Authorization": f"Bearer {secret}"}
    log = Log(served)
    log.write(1)
    url, ended = f"/v1/jobs/{log.job}/events", threading.Event()

    def write() -> None:
        while is_busy and not ended.wait(0.01):
            log.write(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with served.client.stream("GET", url, headers=mine) as answer:
            coming = messages(answer.iter_lines())
            seen = [next(coming).id]
            if end == "revoked":
                tokens.revoke(row.id)
            else:
                monkeypatch.setattr(tokens, "_clock", lambda: time.time() + 3_600)
            seen += [one.id for one in coming]  # to the end of the stream
    finally:
        ended.set()
        writer.join()
    refused = served.client.get(url, headers=mine)
    assert (refused.status_code, end in refused.json()["detail"]) == (401, True)
    monkeypatch.undo()
    log.end()
    assert seen + follow(served, log.job, after=seen[-1])[0] == list(range(1, log.count + 1))


@contextmanager
def listening(served: Served, job: str) -> Iterator[socket.socket]:
    """A reader that asks, and then takes only what it is told to."""
    where = urlsplit(served.url)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect((where.hostname, where.port))
        one.sendall(
            f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {served.token('jobs:read')}\r\n\r\n".encode()
        )
        yield one


def test_who_takes_nothing_is_cut_off_and_goes_on_later(served, monkeypatch):
    monkeypatch.setattr(api_events, "SEND_S", 0.2)
    log = Log(served)
    with listening(served, log.job) as slow:
        slow.recv(200)
        log.write(60, size=200_000)  # more than what buffers on the way hold
        assert eventually(lambda: served.world.feed.readers == 0)
    log.end()
    assert follow(served, log.job)[0] == list(range(1, log.count + 1))


def test_one_who_takes_nothing_holds_up_nobody(served):
    log = Log(served)
    with listening(served, log.job), ThreadPoolExecutor(1) as pool:
        reader = pool.submit(follow, served, log.job)
        for _ in range(20):
            log.write(1, size=100_000)
        log.end()
        assert reader.result(20)[0] == list(range(1, log.count + 1))


def test_a_stop_of_the_service_ends_streams_that_can_be_taken_up(tmp_path):
    with serving(tmp_path) as one:
        log = Log(one)
        log.write(3)
        ended = threading.Event()
        found: list[int] = []

        def read() -> None:
            with one.client.stream("GET", f"/v1/jobs/{log.job}/events", headers=STREAM) as answer:
                for message in messages(answer.iter_lines()):
                    found.append(message.id)
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        assert eventually(lambda: len(found) == 3)
        one.world.drain()
        assert ended.wait(5)
        assert httpx.get(f"{one.url}/readyz").status_code == 503
        assert httpx.get(f"{one.url}/healthz").status_code == 200


def test_a_job_that_is_deleted_under_a_reader_ends_its_stream(served):
    job = served.submit()
    served.client.post(f"/v1/jobs/{job}:stop")
    numbers, last = follow(served, job)
    assert last.event == "end"
    served.client.delete(f"/v1/jobs/{job}")
    assert served.client.get(f"/v1/jobs/{job}/events", headers=STREAM).status_code == 404


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("text/event-stream, application/json", "text/event-stream; charset=utf-8"),
        ("image/png", "application/problem+json"),
    ],
)
def test_the_accepted_media_type_chooses(served, done, accept, media):
    answer = served.client.get(f"/v1/jobs/{done}/events", headers={"Accept": accept})
    assert answer.headers["content-type"] == media
    assert answer.status_code == (406 if "problem" in media else 200)
