"""Graph cut on cosine similarities, without the kernel; stochastic greedy for many seeds at once.

    f(A) = Σ_{i∈V} Σ_{j∈A} s_ij − λ Σ_{i,j∈A} s_ij ,   s_ij = (1 + cos(z_i, z_j)) / 2

With unit vectors the gain of j is linear in the running sum u = Σ_{a∈A} z_a (t = |A|):

    gain(j|A) = (n + ⟨z_j, Σ_i z_i⟩) / 2 − λ (t + ⟨z_j, u⟩ + 1)

so that nothing of size n² is formed. A row of zeros has no direction: its cosine to all other rows
is taken as 0, and as 1 to itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.checks import CHUNK_ROWS

SCRATCH_FLOATS = 2**21  # guess: 8 MiB of gathered embeddings or drawn numbers at a time


def inverse_norms(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    """[N] 1 / ‖z_i‖, 0 for a row of zeros; in the type of the embeddings."""
    inverse = np.zeros(len(embeddings), dtype=embeddings.dtype)
    for start in range(0, len(embeddings), CHUNK_ROWS):
        part = embeddings[start : start + CHUNK_ROWS]
        norms = np.sqrt(np.einsum("ij,ij->i", part, part, dtype=np.float64))
        ok = norms > 0.0
        inverse[start : start + CHUNK_ROWS][ok] = 1.0 / norms[ok]
    return inverse


def unit_sum(
    embeddings: NDArray[np.floating], inverse: NDArray[np.floating], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[d] Σ z_i / ‖z_i‖ over `rows`."""
    total = np.zeros(embeddings.shape[1], dtype=np.float64)
    step = max(1, SCRATCH_FLOATS // embeddings.shape[1])
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        total += inverse[part].astype(np.float64) @ embeddings[part]
    return total


def stochastic_greedy(
    embeddings: NDArray[np.floating],
    inverse: NDArray[np.floating],
    rows: NDArray[np.int64],
    size: int,
    *,
    lam: float,
    epsilon: float,
    rngs: Sequence[np.random.Generator],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """One subset of `rows` for each generator, all grown side by side.

    Each pick looks at ⌈(n/k) ln(1/ε)⌉ of the rows that are left, drawn with replacement, and takes
    the best (Mirzasoleiman et al. 2015, arXiv:1409.7938); where that is all of them, it is plain
    greedy. A subset depends on its own generator alone, not on how many are grown beside it.

    Args:
        embeddings: [N, d] float32 or float64, of any length; used as they lie, never copied.
        inverse: [N] of `inverse_norms`.
        rows: [n] the ground set V.
        size: k, 0..n.
        lam: λ ≥ 0; f is monotone up to .5.
        epsilon: ε in (0, 1]; larger gives more different and slightly worse subsets.
        rngs: one for each of the R subsets.

    Returns:
        [R, k] rows in the order they were picked, and [R, k] their gains, which add up to f.
    """
    n, n_seeds = len(rows), len(rngs)
    picks = np.zeros((n_seeds, size), dtype=np.int32)
    gains = np.zeros((n_seeds, size), dtype=np.float64)
    if size == 0:
        return picks, gains
    sample = max(1, math.ceil(n / size * math.log(1.0 / epsilon)))
    left = np.tile(rows.astype(np.int32), (n_seeds, 1))  # places < t are picked, the rest is left
    direction = np.tile(0.5 * unit_sum(embeddings, inverse, rows), (n_seeds, 1))  # Σz/2 − λu
    seeds = np.arange(n_seeds)
    block = max(1, SCRATCH_FLOATS // (n_seeds * sample))
    uniforms = np.zeros((n_seeds, 0, sample))
    for t in range(size):
        remaining = n - t
        if sample >= remaining:
            places = np.broadcast_to(np.arange(t, n), (n_seeds, remaining))
        else:
            if t % block == 0 or uniforms.shape[1] == 0:
                shape = (min(block, size - t), sample)
                uniforms = np.stack([rng.random(shape) for rng in rngs])
            offsets = (uniforms[:, t % block] * remaining).astype(np.int64)
            places = t + np.minimum(offsets, remaining - 1)
        place, score = _best(embeddings, inverse, left, places, direction)
        row = left[seeds, place]
        left[seeds, place] = left[:, t]
        left[:, t] = row
        direction -= lam * (embeddings[row] * inverse[row][:, None])
        picks[:, t] = row
        gains[:, t] = 0.5 * n + score - lam * (t + 1)
    return picks, gains


def _best(
    embeddings: NDArray[np.floating],
    inverse: NDArray[np.floating],
    left: NDArray[np.int32],
    places: NDArray[np.int64],
    direction: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each seed the place whose row has the largest ⟨z_j, direction⟩, and that product."""
    seeds = np.arange(len(left))
    best_place = places[:, 0].copy()
    best_score = np.full(len(left), -np.inf)
    column = direction.astype(embeddings.dtype)[:, :, None]
    step = max(1, SCRATCH_FLOATS // (len(left) * embeddings.shape[1]))
    for start in range(0, places.shape[1], step):
        part = places[:, start : start + step]
        candidates = left[seeds[:, None], part]
        scores = (embeddings[candidates] @ column)[:, :, 0] * inverse[candidates]
        winner = scores.argmax(axis=1)
        score = scores[seeds, winner].astype(np.float64)
        better = score > best_score
        best_score[better] = score[better]
        best_place[better] = part[seeds, winner][better]
    return best_place, best_score
