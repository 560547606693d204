"""Looking on while somebody else drives a job: its state event by event, its log line by line."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from automata_svc.jobs.logs import FLUSH_S
from automata_svc.jobs.protocol import Watcher
from automata_svc.tuning.events import Event
from automata_svc.tuning.events import JobState as Moved
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState

SETTLE_S = 0.05  # guess: what was sent together arrives within this
MOST = 1_000  # events in one batch, where they never end
LOOK_S = 0.5  # guess: how soon what happened is seen, where nobody tells
LINES_LOOK_S = 1.0  # guess: how soon a new line is shown
LAST_LINES_S = FLUSH_S + 1.0  # after a job's end its driver still writes what it has left

Decoded = tuple[int, float, Event]  # seq, at, event
Lines = Sequence[tuple[int, str]]  # number, text


class Follower:
    """Applies events to a state, and tells a watcher of what is new.

    What had happened before somebody began to look is applied and not told; once it is, the
    watcher is called without events, to show where the job is.

    Args:
        seen_to: number of the last event that is old.
        resumed: it was asked to go on after that event: until it moves, PAUSED is not the end.
    """

    def __init__(
        self, plan: SearchPlan, seen_to: int, watch: Watcher | None, resumed: bool = False
    ) -> None:
        self.state = JobState(plan)
        self._seen_to, self._watch, self._resumed = seen_to, watch, resumed
        self._shown = False

    @property
    def is_done(self) -> bool:
        """The job is over, or paused (now, not only once)."""
        if self.state.seq < self._seen_to:
            return False
        return self.state.is_over or (self.state.state == "PAUSED" and not self._resumed)

    def take(self, events: Iterable[Decoded]) -> None:
        """Applies what came; the watcher sees the state after each batch, as a driver's does."""
        fresh: list[Event] = []
        stored_at = 0.0  # one time for a batch: what was decided together is stored together
        for seq, at, event in events:
            if fresh and at != stored_at:
                self._tell(fresh)
                fresh = []
            stored_at = at
            evolve(self.state, seq, at, event)
            if seq > self._seen_to:
                fresh.append(event)
                self._resumed = self._resumed and not isinstance(event, Moved)
        begins = not self._shown and self.state.seq >= self._seen_to and not self.is_done
        if fresh or begins:
            self._tell(fresh)

    def _tell(self, fresh: list[Event]) -> None:
        self._shown = True
        if self._watch is not None:
            self._watch(self.state, fresh)


def together(events: Iterable[Decoded]) -> Iterator[list[Decoded]]:
    """What comes at once, as one: what was decided together is stored, and sent, together.

    Raises what `events` raises, once all before it was given. Where nobody takes any more, it is
    read no further than to the next event.
    """
    coming: queue.SimpleQueue[Decoded | BaseException | None] = queue.SimpleQueue()
    left = threading.Event()

    def read() -> None:
        try:
            for one in events:
                if left.is_set():
                    return
                coming.put(one)
            coming.put(None)
        except BaseException as error:  # raised where it is waited for
            coming.put(error)

    threading.Thread(target=read, name="automata-follow", daemon=True).start()
    try:
        while True:
            found: list[Decoded] = []
            last: Decoded | BaseException | None = coming.get()
            while isinstance(last, tuple):
                found.append(last)
                try:
                    last = coming.get(timeout=SETTLE_S)
                except queue.Empty:
                    break
                if len(found) >= MOST:
                    yield found
                    found = []
            if found:
                yield found
            if isinstance(last, BaseException):
                raise last
            if last is None:
                return
    finally:
        left.set()


def follow(
    plan: SearchPlan,
    read: Callable[[int], Iterable[Decoded]],
    seen_to: int,
    watch: Watcher | None = None,
) -> JobState:
    """Reads on until the job is over or paused.

    Args:
        read: the events behind a number, as far as they are stored.
    """
    follower = Follower(plan, seen_to, watch)
    while True:
        follower.take(read(follower.state.seq))
        if follower.is_done:
            return follower.state
        time.sleep(LOOK_S)


def follow_lines(
    read: Callable[[int], Lines],
    is_over: Callable[[], bool],
    after: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lines]:
    """Lines as they are printed, page by page, until the job is over and its last ones are there.

    Args:
        read: the lines behind a number, as far as they are kept; none of them: [].
        after: the number of the last line that is not wanted.
    """
    was_over = over = is_over()
    while True:
        while page := read(after):
            after = page[-1][0]
            yield page
        if over:
            return
        over = is_over()  # looked at first: then what came meanwhile
        sleep(LAST_LINES_S if over and not was_over else LINES_LOOK_S)
