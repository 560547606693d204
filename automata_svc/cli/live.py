"""The live table: rungs, trials, best so far, price and time left, on a terminal's stderr."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
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
        self._next = now + BUSY * took

    def _render(self) -> RenderableType:
        picture, elapsed = self._picture, time.monotonic() - self._start
        if picture is None:
            return Text(f"{self._title}  starting, {fig.seconds(elapsed)}")
        parts: list[RenderableType] = [
            self._headline(picture),
            self._rungs(picture),
            self._foot(picture, elapsed),
        ]
        width = self._console.width
        for line in list(self._last):
            parts.append(self._text(f"  {line}"[:width], style="dim"))
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

    def _rungs(self, picture: Progress) -> Table:
        table = Table.grid(padding=(0, 2), pad_edge=True)
        for justify in ("left", "left", "right", "right", "right", "right", "left"):
            table.add_column(justify=justify, no_wrap=True)
        head = ("rung", "share", "arrived", "running", "went on", f"best {picture.metric}", "")
        table.add_row(*(Text(word, style="dim") for word in head))
        for rung in picture.rungs:
            bar = "█" * round(BAR * rung.arrived / max(1, picture.planned))
            table.add_row(
                str(rung.rung),
                fig.share(rung.share),
                str(rung.arrived),
                str(rung.running or ""),
                str(rung.went_on or ""),
                self._words(fig.metric(rung.best)),
                Text(self._words(bar), style="cyan"),
            )
        for trial, share in picture.confirming:
            bar = self._words("█" * round(BAR * share) + "░" * (BAR - round(BAR * share)))
            table.add_row("full", f"{fig.share(share)}", f"trial {trial}", "", "", "", bar)
        return table

    def _foot(self, picture: Progress, elapsed: float) -> Text:
        line = self._text("  ")
        if picture.best is not None:
            trial, value, share = picture.best
            line.append(f"best {fig.metric(value)}", style="bold")
            line.append(f" (trial {trial}, share {fig.share(share)})  ")
        filled = round(10 * picture.done)
        line.append(self._words("█" * filled + "░" * (10 - filled)))
        line.append(
            self._words(f" price {fig.price(picture.price)} of ≈ {fig.price(picture.expected)}")
        )
        line.append(f"  {fig.seconds(elapsed)}")
        left = seconds_left(picture, elapsed, self._price_before or 0.0)
        if left is not None:
            line.append(self._words(f", ≈ {fig.seconds(left)} left"))
        return line

    def _text(self, words: str, style: str = "") -> Text:
        return Text(self._words(words), style=style, no_wrap=True, overflow="ellipsis")

    def _words(self, words: str) -> str:
        return words.translate(fig.ASCII) if self._ascii else words


_STATES = (
    "RUNNING", "WAITING", "PENDING", "COMPLETED", "PRUNED", "STOPPED", "FAILED", "CANCELLED",
)  # fmt: skip
