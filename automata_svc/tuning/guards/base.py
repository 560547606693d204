"""The contract of a guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from automata_svc.tuning.guards.memory import GuardMemory


@dataclass(frozen=True)
class Trip:
    """A guard fired: in words, the value it saw and the limit it broke."""

    detail: str
    value: float
    limit: float


class Guard(Protocol):
    """Looks at a trial's own past only, so adding trials never changes what it says.

    tests/contracts/test_guard.py holds each row of GUARDS to: pure; silent on a healthy trial;
    monotone (worse signals never silence it); never fires on the option values that switch it off.
    """

    options: Mapping[str, Any]  # option → default

    def check(
        self, memory: GuardMemory, trip: str | None, options: Mapping[str, Any]
    ) -> Trip | None:
        """`trip` is what the worker itself stopped for, if it did."""
        ...
