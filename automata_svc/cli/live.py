"""The live table: rungs, trials, best so far, price and time left, on a terminal's stderr."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from automata_svc.cli.said import decision_line, milestone
from automata_svc.cli.world import World
from automata_svc.results import figures as fig
from automata_svc.results.progress import Progress, progress, seconds_left
from automata_svc.tuning import events as ev
from automata_svc.tuning.state import JobState

PER_SECOND = 4
LAST = 5  # decisions that stay in sight
BUSY = 20  # a picture is taken after BUSY times as long as the last one took: ≤ 5 % of the driver
BAR = 24


class LiveTable:
    """Drawn by rich's own thread from frozen pictures, so it never looks at a moving state."""

    def __init__(self, world: World, title: str, console: Console | None = None) -> None:
        encoding = (getattr(sys.stderr, "encoding", "") or "ascii").lower()
        self._ascii = "utf" not in encoding
        self._console = console or Console(
            stderr=True, highlight=False, no_color=not world.has_colour(sys.stderr)
        )
        self._title = title
        self._start = time.monotonic()
        self._price_before: float | None = None
        self._picture: Progress | None = None
        self._next = 0.0
        self._last: deque[str] = deque(maxlen=LAST)
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, state: JobState, events: Sequence[ev.Event]) -> None:
        if self._price_before is None:
            self._price_before = state.price
        for event in events:
            line = milestone(state, event) or decision_line(state, event)
            if line is not None:
                self._last.append(line)
        now = time.monotonic()
        if now < self._next and not state.is_over:
            return
        self._picture = progress(state)
        took = time.monotonic() - now
        self._next = now + min(BUSY * took, 1.0)

    def _render(self) -> RenderableType:
        picture, elapsed = self._picture, time.monotonic() - self._start
        if picture is None:
            return Text(f"{self._title}  starting, {fig.seconds(elapsed)}")
        parts = [self._headline(picture), *self._rungs(picture), *self._foot(picture, elapsed)]
        parts += [self._text(f"  {line}", style="dim") for line in list(self._last)]
        return Group(*parts)

    def _headline(self, picture: Progress) -> Text:
        line = self._text("")
        line.append(self._title, style="bold")
        line.append(f"  {picture.state}", style="green" if picture.state == "RUNNING" else "yellow")
        counts = [
            f"{count} {state.lower()}"
            for state in _STATES
            if (count := picture.trials.get(state, 0))
        ]
        known = ", ".join(counts) or "no trials yet"
        line.append(f"  {picture.proposed} of {picture.planned} trials: {known}")
        return line

    def _rungs(self, picture: Progress) -> list[Text]:
        room = self._console.width - sum(_WIDTHS) - 2 * len(_WIDTHS) - 2
        columns = min(BAR, room) if room >= 6 else 0  # on a narrow terminal the numbers stay
        head = ("", "share", "trials", "running", "went on", "best")
        lines = [self._text(_row(head), style="dim")]
        for rung in picture.rungs:
            cells = (
                f"rung {rung.rung}",
                fig.share(rung.share),
                str(rung.arrived),
                str(rung.running or ""),
                str(rung.went_on or ""),
                fig.metric(rung.best) if rung.best is not None else "",
            )
            line = self._text(_row(cells))
            part = rung.arrived / max(1, picture.planned)
            line.append(self._words("█" * round(columns * part)), style="cyan")
            lines.append(line)
        for trial, share in picture.confirming:
            line = self._text(_row((f"trial {trial}", fig.share(share), "", "", "", "")))
            filled = round(columns * share)
            line.append(self._words("█" * filled + "░" * (columns - filled)), style="green")
            lines.append(line)
        return lines

    def _foot(self, picture: Progress, elapsed: float) -> list[Text]:
        lines = []
        if picture.best is not None:
            trial, value, share = picture.best
            line = self._text("  best  ")
            line.append(f"{picture.metric} {fig.metric(value)}", style="bold")
            line.append(f"  trial {trial} at share {fig.share(share)}")
            lines.append(line)
        spent = f"price {fig.price(picture.price)} of ≈ {fig.price(picture.expected)}"
        left = seconds_left(picture, elapsed, self._price_before or 0.0)
        remains = f", ≈ {fig.seconds(left)} left" if left else ""
        lines.append(self._text(f"  {spent}  {fig.seconds(elapsed)}{remains}"))
        return lines

    def _text(self, words: str, style: str = "") -> Text:
        return Text(self._words(words), style=style, no_wrap=True, overflow="ellipsis")

    def _words(self, words: str) -> str:
        return words.translate(fig.ASCII) if self._ascii else words


_STATES = (
    "RUNNING", "WAITING", "PENDING", "COMPLETED", "PRUNED", "STOPPED", "FAILED", "CANCELLED",
)  # fmt: skip


# Columns before the bar; fixed, so that nothing jumps while numbers grow.
_WIDTHS = (9, 7, 6, 7, 7, 8)


def _row(cells: Sequence[str]) -> str:
    first, *rest = zip(cells, _WIDTHS, strict=True)
    shown = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
    return "  " + "  ".join(shown) + "  "
