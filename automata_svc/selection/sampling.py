"""Weighted and stratified draws, each a function of its generator alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARPEST_TEMPERATURE = 1e-3  # guess: odds of e^1000 from best to worst row; as good as 0
BISECTION_STEPS = 60  # halves a range of log temperatures of 14 to below double precision


def stratified_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of all rows, each prefix of which has nearly the classes of the whole.

    Row r of a class with n_c rows (shuffled) stands at (r + u_c) / n_c with one uniform u_c per
    class (systematic sampling), so that up to any such position a class has its share within one
    row.

    Args:
        labels: [N] class numbers ≥ 0.
        rng: used up by N + C uniforms.

    Returns:
        [N] rows.
    """
    counts = np.bincount(labels)
    grouped = np.argsort(labels + rng.random(len(labels)), kind="stable")  # by class, shuffled
    starts = np.cumsum(counts) - counts
    sorted_labels = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(len(labels)) - starts[sorted_labels]
    position = (rank + rng.random(len(counts))[sorted_labels]) / counts[sorted_labels]
    return grouped[np.argsort(position, kind="stable")].astype(np.int64, copy=False)


def gumbel_top_k(log_p: NDArray[Any], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` places drawn one after the other without replacement, with odds exp(log_p).

    The `size` largest of log p_i + Gumbel_i: the same law as drawing one by one and renormalising.

    Args:
        log_p: [n] log odds, any offset.
        size: 0..n.
        rng: used up by n Gumbels, whatever `size` is.

    Returns:
        [size] places, in the order they were drawn.
    """
    keys = log_p + rng.gumbel(size=len(log_p))
    top = np.argpartition(-keys, size - 1)[:size] if 0 < size < len(keys) else np.arange(len(keys))
    return top[np.lexsort((top, -keys[top]))][:size].astype(np.int64, copy=False)


def effective_sample_size(log_p: NDArray[Any]) -> float:
    """(Σp)² / (n Σp²): 1 for uniform p, 1/n where one row takes all."""
    p = np.exp(log_p - np.max(log_p), dtype=np.float64)
    return float(p.sum() ** 2 / (len(p) * (p**2).sum()))


def log_softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    """[n] log p with p ∝ exp(score)."""
    shifted = scores.astype(np.float64) - np.max(scores)
    return np.asarray(shifted - np.log(np.exp(shifted).sum()), dtype=np.float64)


def log_taylor_softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    """[n] log p with p ∝ 1 + s + s²/2, the second-order Taylor softmax of MILO; always > 0."""
    s = scores.astype(np.float64)
    p = 1.0 + s + 0.5 * s**2
    return np.asarray(np.log(p / p.sum()), dtype=np.float64)


def temperature_for_ess(scores: NDArray[Any], target: float) -> float:
    """The T at which softmax(scores / T) has the effective sample size `target`.

    The effective sample size grows with T: from (rows at the highest score) / n to 1.

    Args:
        scores: [n] in [0, 1].
        target: in (0, 1]; where ties at the top keep the size above it, the sharpest T.

    Returns:
        T, from SHARPEST_TEMPERATURE; infinity where `target` is 1 or all scores are equal.
    """
    if target >= 1.0 or np.ptp(scores) == 0.0:
        return float("inf")
    low, high = np.log(SHARPEST_TEMPERATURE), np.log(1e3)
    for _ in range(BISECTION_STEPS):
        middle = 0.5 * (low + high)
        if effective_sample_size(scores / np.exp(middle)) < target:
            low = middle
        else:
            high = middle
    return float(np.exp(0.5 * (low + high)))
