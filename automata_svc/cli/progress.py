"""How far an upload or a download is: a bar on a terminal, a line at its end elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from automata_svc.results.figures import ASCII

if TYPE_CHECKING:
    from automata_svc.cli.world import World

WIDTH = 30
EVERY_S = 0.1  # more often than that is not seen
SMALL = 1_000_000  # bytes that are gone before a line about them is read


class Bars:
    """Called with what is moved, bytes that have arrived, and bytes in all."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._drawn = 0.0
        self._open = False

    def __call__(self, what: str, done: int, size: int) -> None:
        over = done >= size
        if not self._world.is_live(sys.stderr):
            if over and size > SMALL:
                self._world.note(f"{what}: {said(size)}")
            return
        now = time.monotonic()
        if not over and now - self._drawn < EVERY_S:
            return
        if over and not self._open:
            return  # nothing was to be seen of it
        self._drawn, self._open = now, not over
        full = WIDTH if size == 0 else WIDTH * done // size
        bar = "█" * full + "░" * (WIDTH - full)
        line = f"\r{what} {bar} {said(done)} of {said(size)}" + ("\n" if over else "")
        if "utf" not in (sys.stderr.encoding or "").lower():
            line = line.translate(ASCII)
        sys.stderr.write(line)
        sys.stderr.flush()


def said(size: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
