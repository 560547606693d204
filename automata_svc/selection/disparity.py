"""Farthest-first order: the greedy order of disparity-min.

f(A) = min_{i≠j∈A} (1 − cos(z_i, z_j))
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.graph_cut import unit_sum

MAX_FOLD = 20_000  # guess: rows of a class ordered together; each pick reads all of their vectors


def farthest_first(
    embeddings: NDArray[np.floating],
    inverse: NDArray[np.floating],
    rows: NDArray[np.int64],
    picks: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows by when farthest-first would take them, each with its distance to those before it.

    Starts with the row least like the sum of all, then always takes the row whose nearest taken row
    is farthest away (Gonzalez 1985). After `picks` rows the rest follows by its distance to the
    taken ones, as if it came in at once. More than MAX_FOLD rows are cut into random folds of equal
    size, ordered each for itself and merged by distance. O(picks · n · d) time, O(fold · d) memory.

    Args:
        embeddings: [N, d], of any length.
        inverse: [N] of `graph_cut.inverse_norms`.
        rows: [n] rows to order.
        picks: rows taken one by one, at least 1.
        rng: cuts the folds; not used where there is one.

    Returns:
        [n] rows, and [n] insertion distances min over taken a of 1 − cos(z_a, z_j) in the same
        order, in [0, 2], never rising; the first row, which has none before it, gets the second's.
    """
    n_folds = -(-len(rows) // MAX_FOLD)
    if n_folds <= 1:
        return _one_fold(embeddings, inverse, rows, picks)
    folds = np.array_split(rng.permutation(rows), n_folds)
    parts = [_one_fold(embeddings, inverse, fold, -(-picks // n_folds)) for fold in folds]
    order = np.concatenate([part[0] for part in parts])
    distances = np.concatenate([part[1] for part in parts])
    merged = np.argsort(-distances, kind="stable")
    return order[merged], distances[merged]


def _one_fold(
    embeddings: NDArray[np.floating],
    inverse: NDArray[np.floating],
    rows: NDArray[np.int64],
    picks: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    n = len(rows)
    picks = min(picks, n)
    if n == 0:
        return rows.copy(), np.zeros(0)
    unit = embeddings[rows] * inverse[rows][:, None]
    total = unit_sum(embeddings, inverse, rows).astype(unit.dtype)
    nearest = np.full(n, np.inf)
    taken = np.zeros(n, dtype=bool)
    order = np.zeros(n, dtype=np.int64)
    distances = np.zeros(n)
    place = int(np.argmin(unit @ total))
    for t in range(picks):
        if t > 0:
            place = int(np.argmax(nearest))
            distances[t] = nearest[place]
        order[t] = place
        taken[place] = True
        np.minimum(nearest, 1.0 - unit @ unit[place], out=nearest)
        np.maximum(nearest, 0.0, out=nearest)
        nearest[taken] = -1.0
    rest = np.flatnonzero(~taken)
    rest = rest[np.argsort(-nearest[rest], kind="stable")]
    order[picks:] = rest
    distances[picks:] = nearest[rest]
    if n > 1:
        distances[0] = distances[1]
    return rows[order], distances
