"""What keeps something waiting, in the log of whoever waits: once, however long it lasts."""

from __future__ import annotations

import logging


class SaidOnce:
    """For a loop that tries again: the log grows by what is new, and not by each try."""

    def __init__(self, log: logging.Logger, text: str = "%s") -> None:
        """
        Args:
            text: with one %s, for what keeps it waiting.
        """
        self._log, self._text = log, text
        self._said: set[str] = set()

    def waits(self, error: object) -> None:
        """It did not work, because of `error`: a warning, where it is another than before."""
        if str(error) not in self._said:
            self._said.add(str(error))
            self._log.warning(self._text, error)

    def works(self) -> None:
        """It works: the next time is another one."""
        self._said.clear()
