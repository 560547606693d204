"""One gate in front of schedulers, searchers and guards: only finite numbers get through.

Ray's own ASHA keeps a NaN trial for ever (`nan < cutoff` is false) and dies of a None; here a value
that is no number is refused once, with the reason, and the trial stands last wherever it is ranked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Passed:
    """What a report is worth."""

    metric: float | None  # the objective, where usable
    loss: float | None
    values: Mapping[str, float]  # every finite metric
    refused: str  # why the objective is not usable; "" when it is


def gate(values: Mapping[str, Any], metric: str, loss: str) -> Passed:
    """Sorts what a template reported into numbers that may be compared, and a reason if not."""
    finite = {
        str(name): number for name, raw in values.items() if (number := _finite(raw)) is not None
    }
    refused = ""
    if metric not in finite:
        if metric in values:
            refused = f"{metric} is {_shown(values[metric])}, not a finite number"
        else:
            names = ", ".join(sorted(map(str, values))) or "nothing"
            refused = f"the template did not report {metric}; it reported {names}"
    return Passed(finite.get(metric), finite.get(loss), finite, refused)


def _finite(raw: Any) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, Real):
        item = getattr(raw, "item", None)  # a numpy or torch scalar
        if item is None or isinstance(raw, bool) or getattr(raw, "ndim", 0) != 0:
            return None
        raw = item()
        if isinstance(raw, bool) or not isinstance(raw, Real):
            return None
    number = float(raw)
    return number if math.isfinite(number) else None


def _shown(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 40 else text[:37] + "..."
