"""A job's log: pages for programs that ask, a stream for those that follow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from automata_svc.api.needs import Reads, World
from automata_svc.api.params import JobRef
from automata_svc.api.problems import responses
from automata_svc.api.routing import router
from automata_svc.api.shown import event_text, raw
from automata_svc.api.world import ServiceWorld
from automata_svc.errors import AutomataError, Problem, SpecError
from automata_svc.jobs.feed import News
from automata_svc.jobs.tenancy import Caller
from automata_svc.spec.wire.events import DEFAULT_EVENTS, END, HEARTBEAT_S, MAX_EVENTS, EventList
from automata_svc.tuning.state import JOB_ENDS

if TYPE_CHECKING:
    from automata_svc.jobs.feed import Reader

routes = router("events", 404, 406)


SEND_S = 30.0  # guess: who takes nothing for so long is cut off, and comes back with its last id
CHUNK_BYTES = 32 * 1024  # sent at once
STREAM_S = 3_600.0  # guess: then a reader shows its token again
RETRY_MS = 1_000  # how soon a reader that lost its stream comes back
JSON, STREAM = "application/json", "text/event-stream"

_STREAM = {
    200: {
        "content": {
            STREAM: {
                "schema": {"type": "string"},
                "examples": {
                    "one": {
                        "value": 'id: 7\nevent: guard\ndata: {"seq": 7, "at": '
                        '"2026-01-31T12:00:05Z", "kind": "guard", "body": {"trial": 3}}\n\n'
                    }
                },
            }
        }
    }
}


@routes.get(
    "/v1/jobs/{job}/events",
    operation_id="list_events",
    response_model=EventList,
    responses={**_STREAM, **responses(404, 406)},  # type: ignore[dict-item]
)
async def events(
    request: Request,
    job: JobRef,
    caller: Reads,
    world: World,
    after: Annotated[int, Query(ge=0, lt=2**53, description="Only events behind this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS, description="In one page.")] = DEFAULT_EVENTS,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^\d{1,15}$",
            description="Of a stream: as `after`, and stronger. Browsers send it by themselves.",
        ),
    ] = None,
) -> Response:
    """A job's events in order, as a page or, with Accept: text/event-stream, as they happen.

    `event: end` closes the stream of a job that is over. A stream that breaks is taken up again
    with Last-Event-ID; nothing is left out and nothing comes twice. It ends within a heartbeat
    (15 s) of its token's end.
    """
    media = _chosen(request.headers.get("accept", "*/*"))
    if media == JSON:
        return await run_in_threadpool(_page, world, caller, job, after, limit)
    record = await run_in_threadpool(world.hosted.record, caller, job)
    start = int(last_event_id) if last_event_id is not None else after
    where = "query.after" if last_event_id is None else "header.last-event-id"
    return EventStream(world, caller, record.id, start, where)


def _page(world: ServiceWorld, caller: Caller, job: str, after: int, limit: int) -> Response:
    record, found = world.hosted.events(caller, job, after, limit)
    following = found[-1].seq if found else after
    end = record.state in JOB_ENDS and following >= record.seq
    texts = ", ".join(map(event_text, found))
    return raw(f'{{"events": [{texts}], "next": {following}, "end": {json.dumps(end)}}}')


def _chosen(accept: str) -> str:
    """What of the two is answered.

    Raises:
        HTTPException: 406, neither is accepted.
    """
    asked = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    for media in asked:
        if media == STREAM or media == "text/*":
            return STREAM
        if media in (JSON, "application/*", "*/*", ""):
            return JSON
    raise HTTPException(406, f"events come as {JSON} or {STREAM}, not as '{accept}'")


Message = MutableMapping[str, Any]


class EventStream(Response):
    """Sends what a reader gets, until the job is over, the reader leaves, the service stops, or
    the caller's token is not good any more: who comes back then is told so."""

    media_type = STREAM

    def __init__(
        self, world: ServiceWorld, caller: Caller, job: str, after: int, said_in: str
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._world, self._caller = world, caller
        self._job, self._after, self._said_in = job, after, said_in

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        try:
            async with self._world.feed.follow(self._job, self._after) as reader:
                await self._stream(reader, receive, send)
        except SpecError as error:
            raise SpecError([Problem(self._said_in, p.message) for p in error.problems]) from None

    async def _stream(
        self,
        reader: Reader,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        meter = self._world.meters.streams
        meter.inc()
        gone = asyncio.create_task(_gone(receive))
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            await self._follow(reader, send, gone)
        except TimeoutError:
            return  # the server cuts the connection
        finally:
            gone.cancel()
            meter.dec()

    async def _follow(
        self, reader: Reader, send: Callable[[Message], Awaitable[None]], gone: asyncio.Task[None]
    ) -> None:
        async def say(body: bytes, more: bool = True) -> None:
            # A reader that takes nothing is not waited for: it comes back with its last id.
            async with asyncio.timeout(SEND_S):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        clock = asyncio.get_running_loop().time
        until, look_at = clock() + STREAM_S, clock() + HEARTBEAT_S
        await say(f"retry: {RETRY_MS}\n\n".encode())
        while clock() < until:
            news = await _next(reader, gone, max(0.0, look_at - clock()))
            if gone.done():
                return
            if clock() >= look_at:  # before anything more is told
                if not await run_in_threadpool(self._is_let_in):
                    break
                look_at = clock() + HEARTBEAT_S
            if news is None:
                await say(b": still here\n\n")
                continue
            for chunk in _chunks(news.parts):
                await say(chunk)
            if news.end is not None:
                end = json.dumps({"state": news.end, "seq": news.seq})
                await say(f"event: {END}\ndata: {end}\n\n".encode())
            if news.end is not None or news.closed:
                break
        await say(b"", more=False)

    def _is_let_in(self) -> bool:
        try:
            return self._world.tokens.is_good(self._caller.token_id)
        except AutomataError:  # the database is away: there is nothing new to tell, either
            return True


def _chunks(parts: Sequence[bytes]) -> Iterator[bytes]:
    """The parts in pieces: many small events at once, a large one alone."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def _next(reader: Reader, gone: asyncio.Task[None], wait_s: float) -> News | None:
    """What follows; None after a while without, or where nobody reads any more."""
    coming = asyncio.ensure_future(reader.next(wait_s))
    await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not coming.done():
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        return None
    try:
        return coming.result()
    except AutomataError:  # deleted, or the database is away: who comes back is told
        return News(seq=reader.seq, closed=True)


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
