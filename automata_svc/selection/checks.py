"""What every strategy checks before it chooses: options, size, signals."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.errors import Problem, SpecError, unknown
from automata_svc.selection.errors import SelectionError

CHUNK_ROWS = 65_536  # guess: rows looked at together, so that no temporary is as large as its input


def read_options(
    strategy: str,
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    allowed: Mapping[str, tuple[float, float] | tuple[str, ...]],
) -> dict[str, Any]:
    """The options with defaults filled in.

    Args:
        strategy: its name, for the message.
        defaults: option → default; an integer default asks for an integer.
        given: what the job says.
        allowed: option → (lowest, highest), both allowed, or the names to choose from.

    Raises:
        SpecError: every unknown name and every value out of range, together.
    """
    problems = [
        Problem(name, unknown(f"option of strategy '{strategy}'", name, defaults))
        for name in given
        if name not in defaults
    ]
    for name, limits in allowed.items():
        value = given.get(name, defaults[name])
        if (said := _mistake(value, defaults[name], limits)) is not None:
            problems.append(Problem(name, f"{value!r} is not usable; {said}"))
    if problems:
        raise SpecError(problems, source=f"strategy '{strategy}'")
    return {**defaults, **given}


def _mistake(value: Any, default: Any, limits: tuple[Any, ...]) -> str | None:
    """What would be right, where `value` is not."""
    if isinstance(default, str):
        return None if value in limits else f"one of: {', '.join(limits)}"
    low, high = limits
    kind, word = (int, "an integer") if isinstance(default, int) else (Real, "a number")
    right = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
    return None if right else f"{word} from {low} to {high} is"


def check_size(size: int, n: int) -> None:
    """Raises SelectionError unless 1 ≤ size ≤ n."""
    if not 1 <= size <= n:
        raise SelectionError(f"a subset of {size} rows was asked for; 1 to {n} rows are there")


def check_finite(name: str, values: NDArray[Any], rows: NDArray[np.int64] | None = None) -> None:
    """Raises SelectionError naming the first row of `values` [n, …] that is not finite.

    Args:
        name: what the values are, for the message.
        values: one row per example.
        rows: [n] what the rows are called; 0..n-1 by default.
    """
    for start in range(0, len(values), CHUNK_ROWS):
        finite = np.isfinite(values[start : start + CHUNK_ROWS])
        if finite.all():
            continue
        bad = start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
        row = bad if rows is None else int(rows[bad])
        raise SelectionError(f"the {name} of row {row} is not finite; nothing can be chosen by it")
