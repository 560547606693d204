"""New events of jobs that somebody follows: read once for each job, handed to all its readers.

One task asks the database several times a second which of the followed jobs have more events, and
reads those once. A reader is a position in the log and nothing else: what is new it takes from the
last events that are kept for its job, what is older it reads from the database, page by page, at
its own pace. So there is no gap and no repeat, a reader that falls behind costs nothing, and memory
is bounded by jobs that are followed, however many follow them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from automata_svc.errors import NotFound, Problem, SpecError, Unavailable
from automata_svc.jobs.saying import SaidOnce
from automata_svc.tuning.state import JOB_ENDS

if TYPE_CHECKING:
    from automata_svc.database import StoredEvent
    from automata_svc.database.store import Database

POLL_S = 0.25  # guess: quick enough to look live; one query then, whatever is followed
AWAY_S = 2.0  # between tries while the database is away
PAGE = 500  # events read at a time
KEPT_BYTES = 256 * 1024  # of one job's last events, encoded
MAX_READERS = 1_000  # of one process

log = logging.getLogger("automata.feed")
Encode = Callable[["StoredEvent"], bytes]


@dataclass(frozen=True)
class News:
    """What a reader gets: encoded events, the last one's number, and whether that was all."""

    parts: tuple[bytes, ...] = ()
    seq: int = 0
    end: str | None = None  # the state that the job ended in; nothing follows
    closed: bool = False  # the service stops: go on elsewhere, or later, after `seq`


@dataclass
class _Channel:
    """A job that is followed."""

    job: str
    seq: int  # the last event that is known of
    end: str | None
    gone: bool = False  # it was deleted
    readers: int = 0
    kept: deque[tuple[int, bytes]] = field(default_factory=deque)  # the last events, without gaps
    size: int = 0  # bytes in them
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, seq: int, part: bytes) -> None:
        self.kept.append((seq, part))
        self.size += len(part)
        self.seq = seq
        while self.size > KEPT_BYTES:
            _, gone = self.kept.popleft()
            self.size -= len(gone)

    @property
    def first(self) -> int:
        """The number of the first event that is kept; of the next one where none is."""
        return self.kept[0][0] if self.kept else self.seq + 1

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Feed:
    """One event loop's; `close` may be called from any thread."""

    def __init__(
        self,
        database: Database,
        encode: Encode,
        poll_s: float = POLL_S,
        max_readers: int = MAX_READERS,
    ) -> None:
        """
        Args:
            encode: a stored event as readers are sent it; called once for each, not per reader.
            poll_s: seconds between looks.
        """
        self._database, self._encode = database, encode
        self._poll_s, self._max_readers = poll_s, max_readers
        self._channels: dict[str, _Channel] = {}
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.readers = 0

    @asynccontextmanager
    async def follow(self, job: str, after: int = 0) -> AsyncIterator[Reader]:
        """A reader of a job's events from the one behind `after` on.

        Args:
            job: its id.

        Raises:
            NotFound: no such job.
            SpecError: the log is not that long.
            Unavailable: too many readers, or the database is away.
        """
        if self.readers >= self._max_readers:
            raise Unavailable(f"{self.readers} streams are open here already; come back later")
        self._loop = asyncio.get_running_loop()
        self.readers += 1
        try:
            channel = await self._open(job)
            try:
                if after > channel.seq:
                    said = f"{after} is beyond the log: its last event is {channel.seq}"
                    raise SpecError(Problem("after", said))
                yield Reader(self, channel, after)
            finally:
                channel.readers -= 1
                if not channel.readers:
                    self._channels.pop(job, None)
        finally:
            self.readers -= 1

    def close(self) -> None:
        """Ends every reader, and those that come; safe from any thread, and more than once."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # it was closed just now
                self._loop.call_soon_threadsafe(self._wake_all)

    @property
    def closed(self) -> bool:
        return self._closed

    # ---- below ----------------------------------------------------------------------------------

    async def read(self, job: str, after: int) -> list[tuple[int, bytes]]:
        """A page of encoded events straight from the database."""
        return await asyncio.to_thread(self._read, job, after)

    async def _open(self, job: str) -> _Channel:
        if job not in self._channels:
            head = await asyncio.to_thread(self._database.get_head, job)
            end = head.state if head.state in JOB_ENDS else None
            # Somebody else may have opened it in the meantime; theirs is kept up to date already.
            self._channels.setdefault(head.id, _Channel(head.id, head.seq, end))
        channel = self._channels[job]
        channel.readers += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="automata-feed")
        return channel

    async def _poll(self) -> None:
        """Runs while anything is followed."""
        pause, said = self._poll_s, SaidOnce(log, "followers wait for the database: %s")
        while self._channels and not self._closed:
            await asyncio.sleep(pause)
            try:
                await self._look()
                pause = self._poll_s
                said.works()
            except Unavailable as error:
                pause = AWAY_S
                said.waits(error)
            except Exception:  # whatever it is: those who follow would wait for nobody
                log.exception("followers get nothing new")
                pause = AWAY_S

    async def _look(self) -> None:
        following = {
            job: one for job, one in self._channels.items() if one.end is None and not one.gone
        }
        if not following:
            return
        seqs = await asyncio.to_thread(self._database.last_seqs, list(following))
        for job, channel in following.items():
            channel.gone = job not in seqs
            end = None
            while channel.seq < seqs.get(job, 0):
                found = await asyncio.to_thread(self._read_live, job, channel.seq)
                for seq, part, ended in found:
                    channel.add(seq, part)
                    end = ended or end
                channel.gone = channel.gone or not found  # deleted while it was read
                channel.wake()
                if channel.gone:
                    break
            if end is not None or channel.gone:
                channel.end = end
                channel.wake()

    def _read(self, job: str, after: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        size = 0
        for one in self._database.events(job, after=after, limit=PAGE):
            found.append((one.seq, self._encode(one)))
            size += len(found[-1][1])
            if size >= KEPT_BYTES:  # a reader holds no more than this
                break
        return found

    def _read_live(self, job: str, after: int) -> list[tuple[int, bytes, str | None]]:
        found = self._database.events(job, after=after, limit=PAGE)
        return [(one.seq, self._encode(one), _end_of(one)) for one in found]

    def _wake_all(self) -> None:
        for channel in self._channels.values():
            channel.wake()


class Reader:
    """One position in one job's log."""

    def __init__(self, feed: Feed, channel: _Channel, after: int) -> None:
        self._feed, self._channel = feed, channel
        self.seq = after  # of the last event that was handed out

    async def next(self, timeout_s: float) -> News | None:
        """What follows, as soon as there is something; None when there was nothing for so long.

        Raises:
            NotFound: the job was deleted.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            channel = self._channel
            if self._feed.closed:
                return News(seq=self.seq, closed=True)
            if channel.gone:
                raise self._gone()
            if self.seq < channel.seq:
                return self._took(await self._more())
            if channel.end is not None:
                return News(seq=self.seq, end=channel.end)
            left = deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await channel.changed.wait()
            except TimeoutError:
                return None

    async def _more(self) -> Sequence[tuple[int, bytes]]:
        channel = self._channel
        if self.seq + 1 >= channel.first:
            skip = self.seq + 1 - channel.first
            return list(islice(channel.kept, skip, None))
        return await self._feed.read(channel.job, self.seq)

    def _took(self, found: Sequence[tuple[int, bytes]]) -> News:
        if not found:  # deleted while it was read
            raise self._gone()
        self.seq = found[-1][0]
        return News(tuple(part for _, part in found), self.seq)

    def _gone(self) -> NotFound:
        return NotFound(f"job {self._channel.job} is not there any more: it was deleted")


def _end_of(event: StoredEvent) -> str | None:
    """The final state that this event moved the job to."""
    if event.kind != "job_state":
        return None
    state = json.loads(event.body).get("state")
    return str(state) if state in JOB_ENDS else None
