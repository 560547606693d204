"""Following a job's log: each event once, in order, over as many connections as it takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from httpx_sse import EventSource

from automata_svc.client.http import Http, read
from automata_svc.errors import Damaged, Unavailable
from automata_svc.spec.wire.events import END, HEARTBEAT_S, MAX_EVENTS, Event, EventList

SILENCE_S = 3 * HEARTBEAT_S  # a stream that misses three signs of life is cut
PATIENCE_S = 600.0  # guess: a server may be away for an upgrade
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0


def path_of(job: str) -> str:
    return f"/v1/jobs/{quote(job, safe='')}"


def follow(
    http: Http,
    job: str,
    after: int = 0,
    *,
    patience_s: float = PATIENCE_S,
    say: Callable[[str], None] = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """The events behind number `after` as they are stored, until the job is over.

    Args:
        patience_s: how long the server may be away at a time.
        say: told once when the line is cut, and once when it is back.

    Raises:
        Unavailable: the server stayed away for longer.
        Damaged: an event is missing in between.
    """
    pause = FIRST_PAUSE_S
    cut_at: float | None = None  # None: the server is there

    def connected() -> None:
        nonlocal cut_at
        if cut_at is not None:  # said now: it may have nothing new to tell for long
            say("the server is back")
        cut_at = None

    while True:
        try:
            for event in _connected(http, job, after, connected):
                pause = FIRST_PAUSE_S
                if event is None:
                    return
                if event.seq <= after:
                    continue
                if event.seq != after + 1:
                    raise Damaged(f"event {after + 1} of {job} is missing; {event.seq} is next")
                after = event.seq
                yield event
        except Unavailable as error:
            now = time.monotonic()
            if cut_at is None:
                cut_at = now
                say(f"{str(error).partition('. ')[0]}; waiting for it")
            if now - cut_at > patience_s:
                raise
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _connected(
    http: Http, job: str, after: int, connected: Callable[[], None]
) -> Iterator[Event | None]:
    """Events of one connection; None: the job is over."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    with http.stream(f"{path_of(job)}/events", headers=headers, silence_s=SILENCE_S) as answer:
        connected()
        for message in EventSource(answer).iter_sse():
            if message.event == END:
                yield None
                return
            if message.data:
                yield Event.model_validate(json.loads(message.data))


def stored(http: Http, job: str, after: int = 0) -> Iterator[Event]:
    """The events that are stored now, page by page."""
    while True:
        params = {"after": after, "limit": MAX_EVENTS}
        headers = {"Accept": "application/json"}
        answer = http.request("GET", f"{path_of(job)}/events", params=params, headers=headers)
        page = read(EventList, answer)
        yield from page.events
        if len(page.events) < MAX_EVENTS:
            return
        after = page.next
