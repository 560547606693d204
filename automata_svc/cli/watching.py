"""Progress while a job runs: a live table on a terminal, lines in a log, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from automata_svc.cli.said import milestone, rung_line
from automata_svc.cli.world import World
from automata_svc.results import figures as fig
from automata_svc.results.progress import Progress, progress, seconds_left
from automata_svc.tuning import events as ev
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.state import JobState

Clock = Callable[[], float]
EVERY_S = 30.0  # guess: a log that is silent for longer looks dead


class Watching(AbstractContextManager["Watching"], Protocol):
    """Called with every stored batch of events, from the thread that drives the job."""

    def __call__(self, state: JobState, events: Sequence[ev.Event]) -> None: ...


def watching(world: World, title: str, quiet: bool) -> Watching:
    """What suits the stream that progress goes to."""
    if quiet:
        return Silent()
    if world.is_live(sys.stderr):
        from automata_svc.cli.live import LiveTable

        return LiveTable(world, title)
    return Lines(world.note)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, state: JobState, events: Sequence[ev.Event]) -> None:
        return None


class Lines:
    """One line where a rung decides, a trial fails or the confirmation moves; no control codes."""

    def __init__(self, write: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._start = self._last = clock()
        self._price_before: float | None = None

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, state: JobState, events: Sequence[ev.Event]) -> None:
        if self._price_before is None and state.drivers:
            self._price_before = state.price
            self._line(_started(state))
            if not events:  # somebody else's job, on its way already
                self._line(summary_line(progress(state), 0.0, state.price))
        for rung in _closed(state, events):  # first: a rung that decides starts the confirmation
            self._line(rung_line(state, rung))
        for event in events:
            text = milestone(state, event)
            if text is not None:
                self._line(text)
        if self._clock() - self._last >= EVERY_S:
            elapsed = self._clock() - self._start
            self._line(summary_line(progress(state), elapsed, self._price_before or 0.0))

    def _line(self, text: str) -> None:
        self._last = self._clock()
        passed = self._last - self._start
        self._write(f"[{int(passed // 60):3d}:{int(passed % 60):02d}] {text}")


def _started(state: JobState) -> str:
    driver = state.drivers[-1] if state.drivers else None
    where = ""
    if driver is not None:
        where = f" on {driver.runner}, {fig.counted(driver.slots, 'slot')}"
    again = f", going on at price {fig.price(state.price)}" if len(state.drivers) > 1 else ""
    trials, rungs = fig.counted(state.plan.trials, "trial"), fig.counted(len(state.rungs), "rung")
    return f"started{where}: {trials}, {rungs}{again}"


def _closed(state: JobState, events: Sequence[ev.Event]) -> list[int]:
    """Rungs of a synchronous scheduler that decided in this batch."""
    if not SCHEDULERS[state.plan.scheduler].synchronous:
        return []
    decided = {
        event.rung
        for event in events
        if isinstance(event, ev.Decision) and event.cutoff is not None
    }
    return sorted(decided)


def summary_line(picture: Progress, elapsed_s: float, price_before: float = 0.0) -> str:
    """Where the job stands, in one line."""
    best = ""
    if picture.best is not None:
        trial, value, share = picture.best
        best = (
            f", best {picture.metric} {fig.metric(value)} (trial {trial}, share {fig.share(share)})"
        )
    left = seconds_left(picture, elapsed_s, price_before)
    time_left = f", about {fig.seconds(left)} left" if left is not None else ""
    return (
        f"{picture.proposed} of {picture.planned} trials, {picture.running} running{best}; "
        f"price {fig.price(picture.price)} of about {fig.price(picture.expected)}{time_left}"
    )
