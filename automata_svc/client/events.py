"""Following a job's log: each event once, in order, over as many connections as it takes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

from httpx_sse import EventSource

from automata_svc.client.away import PATIENCE_S, Away
from automata_svc.client.http import Http, read
from automata_svc.errors import Damaged, NotFound, Unavailable
from automata_svc.spec.wire.events import END, HEARTBEAT_S, MAX_EVENTS, Event, EventList

SILENCE_S = 3 * HEARTBEAT_S  # a stream that misses three signs of life is cut
# What a job's id or name is made of; anything else would be another path, or none.
_JOB = re.compile(r"[A-Za-z0-9][-_A-Za-z0-9]{0,99}", re.ASCII)


def path_of(job: str) -> str:
    """A job's path at a server.

    Raises:
        NotFound: no job can be called so.
    """
    if not _JOB.fullmatch(job):
        raise NotFound(f"no job is called {job[:60]!r}; `automata ls` lists them")
    return f"/v1/jobs/{job}"


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
    away = Away(say, patience_s, sleep)
    while True:
        try:
            for event in _connected(http, job, after, away.answered):
                away.progressed()
                if event is None:
                    return
                if event.seq <= after:
                    continue
                if event.seq != after + 1:
                    raise Damaged(f"event {after + 1} of {job} is missing; {event.seq} is next")
                after = event.seq
                yield event
        except Unavailable as error:
            away.failed(error)
        away.pause()


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
