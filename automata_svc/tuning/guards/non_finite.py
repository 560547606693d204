"""A loss or gradient norm that is not a number ends the trial: nothing after it means anything."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from automata_svc.tuning.guards.base import Trip
from automata_svc.tuning.guards.memory import GuardMemory


class NonFinite:
    """The worker sees it first and stops by itself; this puts the reason on record."""

    options: Mapping[str, Any] = MappingProxyType({})

    def check(
        self, memory: GuardMemory, trip: str | None, options: Mapping[str, Any]
    ) -> Trip | None:
        if trip != "non_finite" and memory.non_finite == 0:
            return None
        steps = max(1, memory.non_finite)
        return Trip(
            f"loss or gradient norm not finite in {steps} step(s) of pass {memory.passes}", steps, 0
        )
