"""Rank evidence: how well an early rung ordered the trials that the next one compared again.

It comes free from the trials that went on, so it speaks of survivors only: those that were pruned
were never seen again, and what is left has been selected by the very ranks that are judged here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from automata_svc.results.figures import counted
from automata_svc.tuning.state import JobState

MIN_PAIRS = 8  # below this the interval spans nearly everything, so nothing was measured
Z_95 = 1.959964


@dataclass(frozen=True)
class RankEvidence:
    """How two consecutive rungs agree about the trials that have a value at both."""

    lower: int  # rungs, from 1
    upper: int
    lower_share: float
    upper_share: float
    pairs: int  # trials with a usable value at both
    tau: float | None  # Kendall's τ-b of the objective; None: not measured
    low: float | None  # 95 % interval
    high: float | None
    note: str  # "survivors only", or why it was not measured


def rank_evidence(state: JobState) -> tuple[RankEvidence, ...]:
    """One line for each pair of consecutive rungs."""
    return tuple(_between(state, lower) for lower in range(len(state.rungs) - 1))


def kendall_tau_b(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's τ-b of two equally long sequences; None where one of them is constant.

    Kendall 1945: (concordant - discordant) / √((n₀ - ties in a)(n₀ - ties in b)), n₀ = n(n-1)/2.
    Discordant pairs are counted by merge sort (Knight 1966), so thousands of trials are no matter.
    """
    n = len(a)
    order = sorted(range(n), key=lambda i: (a[i], b[i]))
    all_pairs = n * (n - 1) // 2
    tied_a, tied_b = _tied(a), _tied(b)
    tied_both = _tied([(a[i], b[i]) for i in range(n)])
    if all_pairs in (tied_a, tied_b):
        return None
    discordant, _ = _inversions([b[i] for i in order])
    concordant = all_pairs - tied_a - tied_b + tied_both - discordant
    return (concordant - discordant) / math.sqrt((all_pairs - tied_a) * (all_pairs - tied_b))


def tau_interval(tau: float, n: int) -> tuple[float, float]:
    """95 % interval of τ from n pairs, by Fisher's z with variance 0.437 / (n - 4).

    Fieller, Hartley & Pearson 1957. At ±1, where z is infinite, half a discordant pair is taken
    off: few pairs in perfect order do not prove that every pair would be.
    """
    most = 1 - 2 / (n * (n - 1))
    z = math.atanh(max(-most, min(most, tau)))
    half = Z_95 * math.sqrt(0.437 / (n - 4))
    return min(tau, math.tanh(z - half)), max(tau, math.tanh(z + half))


def _between(state: JobState, lower: int) -> RankEvidence:
    before, after = state.rungs[lower].values, state.rungs[lower + 1].values
    pairs = [
        (x.metric, y.metric)
        for trial, y in after.items()
        if (x := before.get(trial)) is not None and x.metric is not None and y.metric is not None
    ]
    shares = (state.plan.rungs[lower].share, state.plan.rungs[lower + 1].share)
    where = (lower + 1, lower + 2, *shares, len(pairs))
    if len(pairs) < MIN_PAIRS:
        note = f"not measured: {counted(len(pairs), 'trial')} reached both, {MIN_PAIRS} are needed"
        return RankEvidence(*where, None, None, None, note)
    tau = kendall_tau_b([x for x, _ in pairs], [y for _, y in pairs])
    if tau is None:
        return RankEvidence(*where, None, None, None, "not measured: all values are equal")
    low, high = tau_interval(tau, len(pairs))
    return RankEvidence(*where, tau, low, high, "survivors only")


def _tied(values: Sequence[object]) -> int:
    """Pairs of equal values."""
    counts: dict[object, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return sum(count * (count - 1) // 2 for count in counts.values())


def _inversions(values: list[float]) -> tuple[int, list[float]]:
    """Pairs that stand in falling order, and the values sorted."""
    if len(values) < 2:
        return 0, values
    middle = len(values) // 2
    left_count, left = _inversions(values[:middle])
    right_count, right = _inversions(values[middle:])
    count, merged, i = left_count + right_count, [], 0
    for value in right:
        while i < len(left) and left[i] <= value:
            merged.append(left[i])
            i += 1
        count += len(left) - i
        merged.append(value)
    return count, merged + left[i:]
