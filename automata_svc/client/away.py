"""A server that is away for a while: said once, waited for, and said again when it is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from automata_svc.errors import Unavailable

PATIENCE_S = 600.0  # guess: a server may be away for an upgrade
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0

T = TypeVar("T")


class Away:
    """How long a server has been away this time.

    Args:
        say: told once when it goes, and once when it is back.
        patience_s: how long it may be away at a time.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda text: None,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._say, self._patience_s, self._sleep = say, patience_s, sleep
        self._since: float | None = None  # None: the server is there
        self._pause = FIRST_PAUSE_S

    def failed(self, error: Unavailable) -> None:
        """It did not answer.

        Raises:
            Unavailable: the same, where it stays away for too long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._say(f"{str(error).partition('. ')[0]}; waiting for it")
        if now - self._since > self._patience_s:
            raise error

    def answered(self) -> None:
        """It is there: said now, since it may have nothing new to tell for long."""
        if self._since is not None:
            self._say("the server is back")
        self._since = None

    def progressed(self) -> None:
        """It gave what was asked for: the next pause is a short one again."""
        self._pause = FIRST_PAUSE_S

    def pause(self) -> None:
        """Waits before the next try, longer from one to the next."""
        self._sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)

    def outlasted(self, ask: Callable[[], T]) -> T:
        """What `ask` gives, asked again for as long as the server is away.

        Raises:
            Unavailable: it stayed away for too long.
        """
        while True:
            try:
                found = ask()
            except Unavailable as error:
                self.failed(error)
                self.pause()
                continue
            self.answered()
            self.progressed()
            return found
