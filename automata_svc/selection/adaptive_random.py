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

KEPT = 2  # cycles: a selection across a border needs two


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
    k = draw.size
    cycle, offset = divmod(draw.index * k, rows.n)
    head = _cycle(rows, draw, cycle)[offset : offset + k]
    if len(head) == k:
        return head.copy()
    return np.concatenate([head, _cycle(rows, draw, cycle + 1)[: k - len(head)]])


def _cycle(rows: Rows, draw: Draw, number: int) -> NDArray[np.int64]:
    """[N] one cycle's order; the last few are kept, since selections in a row ask for the same."""
    n, k = rows.n, draw.size

    def key(cycle: int) -> tuple[str, tuple[int, int], int, int]:
        return "adaptive_random", draw.seed, k, cycle

    # A repair changes the first k places. Where the last k lie beyond them, they are as shuffled;
    # else a cycle hangs on the one before it, back to one that is known or needs no repair.
    reach = 1 if 2 * k <= n else number
    first = number
    while first > number - reach and key(first) not in rows.memo and first * n % k:
        first -= 1
    known: NDArray[np.int64] | None = rows.memo.get(key(first))
    order = _shuffle(rows, draw, first) if known is None else known
    for cycle in range(first + 1, number + 1):
        order = _join(order, _shuffle(rows, draw, cycle), cycle * n % k, k)
    if key(number) not in rows.memo:
        for old in [one for one in rows.memo if one[0] == "adaptive_random"][: -KEPT + 1]:
            del rows.memo[old]
        rows.memo[key(number)] = order
    return order


def _shuffle(rows: Rows, draw: Draw, cycle: int) -> NDArray[np.int64]:
    return stratified_order(rows.labels, draw.trial_rng(f"adaptive_random/{cycle}"))


def _join(before: NDArray[np.int64], order: NDArray[np.int64], a: int, k: int) -> NDArray[np.int64]:
    """`order` with its head repaired, so that the selection across the border repeats no row.

    That selection ends `before` with its last a rows; the k − a rows it takes from `order` are the
    first ones that are none of these, and what was passed over comes next.
    """
    taken = np.zeros(len(order), dtype=bool)
    taken[before[len(before) - a :]] = True
    head, rest = order[:k], order[k:]  # k places hold at least k − a rows that are not taken
    free = np.flatnonzero(~taken[head])[: k - a]
    passed_over = np.ones(k, dtype=bool)
    passed_over[free] = False
    return np.concatenate([head[free], head[passed_over], rest])
