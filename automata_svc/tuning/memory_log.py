"""An event log in a list: for simulations, and for tests that need to look inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class MemoryLog:
    """Same contract as the database's log, without a database."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, str, str]] = []

    def load(self) -> Iterable[tuple[int, float, str, str]]:
        return list(self.rows)

    def append(self, first_seq: int, at: float, events: Sequence[tuple[str, str]]) -> None:
        if first_seq != len(self.rows) + 1:
            raise ValueError(f"event {first_seq} does not follow {len(self.rows)}")
        self.rows.extend((first_seq + i, at, kind, text) for i, (kind, text) in enumerate(events))
