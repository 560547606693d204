"""How a subset's rows are shared out among the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

# rule → weight of a class by its number of rows
BUDGET_RULES: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = MappingProxyType(
    {
        "proportional": lambda counts: counts,  # keeps the class prior
        "balanced": lambda counts: np.ones_like(counts),  # MILO's; changes the prior
        "sqrt": np.sqrt,  # between the two
    }
)


def class_budgets(counts: NDArray[Any], size: int, rule: str) -> NDArray[np.int64]:
    """Rows per class: Σ k_c = size exactly, k_c ≤ n_c, and k_c ≥ 1 where `size` has a row for each.

    Classes that are too small for their share give all their rows, the others take up the rest in
    proportion to their weights; whole numbers by largest remainder, ties to the lower class. A
    class that would go without takes a row of the largest budget: no subset would ever show it.

    Args:
        counts: [C] rows n_c of each class.
        size: 0..Σ n_c.
        rule: a name of BUDGET_RULES.

    Returns:
        [C] budgets k_c.
    """
    caps = np.asarray(counts, dtype=np.float64)
    quota = _water_level(caps, BUDGET_RULES[rule](caps), size)
    budgets = np.floor(quota)
    missing = size - int(budgets.sum())
    first = np.argsort(-(quota - budgets), kind="stable")[:missing]
    budgets[first] += 1
    without = np.flatnonzero((budgets == 0.0) & (caps > 0.0))
    if size >= np.count_nonzero(caps):
        for c in without:
            budgets[np.argmax(budgets)] -= 1
            budgets[c] = 1
    return budgets.astype(np.int64)


def _water_level(
    caps: NDArray[np.float64], weights: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """min(n_c, θ·weight_c) with θ such that they sum to `size`."""
    full = caps == 0.0
    while not full.all():
        level = max(0.0, size - caps[full].sum()) / weights[~full].sum()
        over = ~full & (level * weights > caps)
        if not over.any():
            return np.where(full, caps, level * weights)
        full |= over
    return caps
