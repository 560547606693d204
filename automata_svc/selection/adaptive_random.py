"""A fresh random subset at every selection, and no row again before all have come."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.checks import check_size, read_options
from automata_svc.selection.sampling import stratified_order
from automata_svc.selection.types import Arrays, Draw, GradientSource, Rows, Subset

KEPT = 3  # cycles: a selection across a border needs two, its repair one before


class AdaptiveRandom:
    """Shuffled full data in slices, stratified by class: the baseline to beat.

    Selection j is places j·k to (j+1)·k of an endless stream of stratified shuffles (cycles) of all
    rows, keyed by the trial. Okanovic et al. 2024, RS2 without replacement (arXiv:2305.18424).
    Stateless: a selection is computed from its number alone.
    """

    version = 1
    needs: frozenset[str] = frozenset()
    options: Mapping[str, Any] = MappingProxyType({})
    allowed: Mapping[str, Any] = MappingProxyType({})

    def prepare(self, rows: Rows, size: int, seed: int, options: Mapping[str, Any]) -> Arrays:
        return {}

    def select(
        self,
        rows: Rows,
        artefact: Arrays,
        draw: Draw,
        options: Mapping[str, Any],
        gradients: GradientSource | None = None,
    ) -> Subset:
        read_options("adaptive_random", self.options, options, self.allowed)
        check_size(draw.size, rows.n)
        return Subset(indices=_slice(rows, draw), weights=np.ones(draw.size, dtype=np.float32))


def _slice(rows: Rows, draw: Draw) -> NDArray[np.int64]:
    """[k] places index·k to (index+1)·k of the trial's stream."""
    n, k = rows.n, draw.size
    cycle, offset = divmod(draw.index * k, n)
    if n % k == 0:
        first = cycle  # no selection crosses into the next cycle, nothing is repaired
    elif 2 * k > n:
        first = 0  # the repair of a cycle's head (below) may reach its tail, and so on to the next
    elif offset < k:
        first = max(0, cycle - 1)
    else:
        first = cycle  # the repair reaches the first k places only
    order = _shuffle(rows, draw, first)
    for number in range(first + 1, cycle + 1):
        order = _join(order, _shuffle(rows, draw, number), number, k)
    head = order[offset : offset + k]
    if len(head) == k:
        return head.copy()
    following = _join(order, _shuffle(rows, draw, cycle + 1), cycle + 1, k)
    return np.concatenate([head, following[: k - len(head)]])


def _shuffle(rows: Rows, draw: Draw, cycle: int) -> NDArray[np.int64]:
    """One cycle's order; the last few are kept, since N/k selections in a row ask for the same."""
    key = ("adaptive_random", draw.seed, cycle)
    if key not in rows.memo:
        for old in [k for k in rows.memo if k[0] == key[0]][: -KEPT + 1]:
            del rows.memo[old]
        rng = draw.trial_rng(f"adaptive_random/{cycle}")
        rows.memo[key] = stratified_order(rows.labels, rng)
    order: NDArray[np.int64] = rows.memo[key]
    return order


def _join(
    before: NDArray[np.int64], order: NDArray[np.int64], cycle: int, k: int
) -> NDArray[np.int64]:
    """`order` with its head repaired, so that the selection across the border repeats no row.

    That selection ends `before` with its last a rows; the k − a rows it takes from `order` are the
    first ones that are none of these, and what was passed over comes next.
    """
    a = (cycle * len(order)) % k
    if a == 0:
        return order
    taken = np.zeros(len(order), dtype=bool)
    taken[before[len(before) - a :]] = True
    head, rest = order[:k], order[k:]  # k places hold at least k − a rows that are not taken
    free = np.flatnonzero(~taken[head])[: k - a]
    passed_over = np.ones(k, dtype=bool)
    passed_over[free] = False
    return np.concatenate([head[free], head[passed_over], rest])
