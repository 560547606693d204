"""One segment in a thread of its own, inside a worker; and what a worker says to the driver.

The training program calls `send` and waits for the answer; the worker's own calls (`next`, `stop`)
come from Ray's thread. The two meet in two queues, made anew for each segment, so that a thread
which would not end cannot talk into the segment after it.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from io import TextIOBase
from queue import Empty, SimpleQueue

from automata_svc.trials.types import Reply, Report, SegmentOrder
from automata_svc.tuning.inputs import SegmentFailed, template_failed

LOOK_S = 1.0  # between two looks at the training thread; a look costs some microseconds
WORD_S = 60.0  # guess: a worker with nothing to report says so at least this often
MOVING = 0.01  # guess: of a thread's time on a processor; one that waits for a lock uses none
UNWIND_S = 20.0  # guess: a template that is told to stop has left `train` by then
PRINT_S = 2.0  # what is printed waits this long for more of it
MOST_PRINTED = 256_000  # guess: characters kept for one word; what is in excess is cut out


@dataclass(frozen=True)
class Alive:
    """Nothing to report; the worker can be reached."""


@dataclass(frozen=True)
class Ended:
    """The program returned."""


@dataclass(frozen=True)
class Printed:
    """What the program has written to stdout and stderr since the last such word."""

    text: str


Said = Report | SegmentFailed | Alive | Ended | Printed


def word_interval(silent_s: float) -> float:
    """Seconds after which a worker with nothing to report says that."""
    return min(silent_s / 2, WORD_S)


@dataclass(frozen=True)
class Mark:
    """Where a thread stood at a time, and what processor time it had used."""

    at: float
    place: tuple[tuple[str, int, int], ...]  # (file, line, instruction) of each frame
    used_s: float

    def moved_since(self, before: Mark) -> bool:
        """It stands elsewhere, or it computes: a long call into a library is no hang."""
        computes = self.used_s - before.used_s > MOVING * (self.at - before.at)
        return computes or self.place != before.place

    @classmethod
    def of(cls, thread: threading.Thread, clock: int | None) -> Mark:
        """Now; `clock` is the thread's own processor clock, where the platform has one."""
        frame = sys._current_frames().get(thread.ident or 0)
        place = []
        while frame is not None:
            place.append((frame.f_code.co_filename, frame.f_lineno, frame.f_lasti))
            frame = frame.f_back
        try:
            used_s = 0.0 if clock is None else time.clock_gettime(clock)
        except OSError:  # the thread has ended
            used_s = 0.0
        return cls(time.monotonic(), tuple(place), used_s)


def own_clock() -> int | None:
    """The calling thread's processor clock; None on macOS, which judges a thread by its place."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return None
    return time.pthread_getcpuclockid(threading.get_ident())


class Prints(TextIOBase):
    """A text stream that is taken from, by another thread, now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text: list[str] = []
        self._length = self._cut = 0
        self._since = 0.0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            if not self._text:
                self._since = time.monotonic()
            if self._length + len(text) > MOST_PRINTED:
                self._cut += len(text)
            elif text:
                self._text.append(text)
                self._length += len(text)
        return len(text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def is_due(self) -> bool:
        return bool(self._text) and time.monotonic() - self._since >= PRINT_S

    def take(self) -> str:
        with self._lock:
            text = "".join(self._text)
            if self._cut:
                text += f"\n… {self._cut:,} more characters were printed here\n"
            self._text, self._length, self._cut = [], 0, 0
        return text


class SegmentThread:
    """Runs one order. A thread that does not move for `silent_s` is taken for hung.

    Args:
        prints: what is written there comes out of `next` too, as Printed.
    """

    def __init__(
        self,
        order: SegmentOrder,
        program: Callable[[Callable[[Report], Reply]], None],
        silent_s: float,
        prints: Prints | None = None,
    ) -> None:
        self._order = order
        self._program = program
        self._silent_s = silent_s
        self._said: SimpleQueue[Said] = SimpleQueue()
        self._replies: SimpleQueue[Reply] = SimpleQueue()
        self._owes_reply = False
        self._next: Said | None = None  # it has arrived, and what was printed before goes first
        self._prints = Prints() if prints is None else prints
        self._stopping = threading.Event()
        self._clock: int | None = None
        name = f"trial-{order.trial}-segment-{order.segment}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._mark = Mark.of(self._thread, self._clock)

    def next(self) -> Said:
        """Answers the last report with "continue", and blocks for what comes next."""
        if self._owes_reply:
            self._owes_reply = False
            self._replies.put("continue")
            self._mark = Mark.of(self._thread, self._clock)
        since = time.monotonic()
        while True:
            try:
                said = self._arrived() or self._said.get(timeout=min(LOOK_S, self._silent_s / 4))
            except Empty:
                if self._prints.is_due():
                    return Printed(self._prints.take())
                mark = Mark.of(self._thread, self._clock)
                if mark.moved_since(self._mark):
                    self._mark = mark
                elif mark.at - self._mark.at >= self._silent_s:
                    return self._silent()
                if mark.at - since >= word_interval(self._silent_s):
                    return Alive()
                continue
            if self._prints:
                self._next = said
                return Printed(self._prints.take())
            self._owes_reply = isinstance(said, Report) and not said.done
            return said

    def stop(self, within_s: float = UNWIND_S) -> bool:
        """Answers "stop" from now on; whether the thread has ended within the time."""
        self._stopping.set()
        self._replies.put("stop")
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _arrived(self) -> Said | None:
        said, self._next = self._next, None
        return said

    def _run(self) -> None:
        self._clock = own_clock()
        try:
            self._program(self._send)
        except BaseException as error:  # sys.exit() in a template is the template's error too
            self._said.put(template_failed(self._order, error))
        else:
            self._said.put(Ended())

    def _send(self, report: Report) -> Reply:
        if self._stopping.is_set():
            return "stop"
        self._said.put(report)
        return "stop" if report.done else self._replies.get()

    def _silent(self) -> SegmentFailed:
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        detail = f"did not move for {self._silent_s:g} s; it stood at\n{stack}".rstrip()
        return SegmentFailed(self._order.trial, self._order.segment, "silent", detail, retry=True)
