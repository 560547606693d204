"""Non-negative orthogonal matching pursuit on a Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# An atom whose squared distance to the span of the chosen ones is below this share of its own
# squared norm adds nothing and would ruin the Cholesky factor (algorithms: ℓ² ≤ 1e-8 (G_jj + λ)).
DEPENDENT = 1e-8
# Correlations below this share of the largest one at the start are rounding errors of c − Gw.
# guess: float64 has 1e-16, a Gram matrix of condition 1e4 leaves 1e-12
NOISE = 1e-12
ROUNDS_PER_ATOM = 10  # guess: additions tried per atom asked for; most instances need about one


class Gram(Protocol):
    """The Gram matrix G of n atoms, by columns; float64."""

    @property
    def n(self) -> int: ...

    def diagonal(self) -> NDArray[np.float64]: ...

    def column(self, j: int) -> NDArray[np.float64]: ...


class DenseGram:
    """A Gram matrix that is there: [n, n], symmetric."""

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        self._matrix = matrix

    @property
    def n(self) -> int:
        return len(self._matrix)

    def diagonal(self) -> NDArray[np.float64]:
        return np.asarray(self._matrix.diagonal(), dtype=np.float64)

    def column(self, j: int) -> NDArray[np.float64]:
        return np.asarray(self._matrix[j], dtype=np.float64)


@dataclass(frozen=True)
class Match:
    """Few atoms whose weighted sum is close to the target."""

    indices: NDArray[np.int64]  # [m] atoms, no repeats; m may be smaller than what was asked for
    weights: NDArray[np.float64]  # [m] > 0
    residual: float  # ‖Σ w_j a_j − t‖ / ‖t‖, without the ridge term; 0 where t is 0
    objectives: tuple[float, ...]  # ‖Σ w_j a_j − t‖² + λ‖w‖² after each atom that came in


def nonnegative_omp(
    gram: Gram, correlations: NDArray[np.float64], size: int, *, ridge: float, target_sq: float
) -> Match:
    """Minimise ‖Σ w_j a_j − t‖² + λ‖w‖² over w ≥ 0 with at most `size` atoms, greedily.

    GRAD-MATCH's OMP (Killamsetty et al. 2021, arXiv:2103.00123; `ridge` is their λ): the atom with
    the largest −½ gradient α_j = c_j − (Gw)_j comes in, and the weights of all chosen atoms are
    solved again under w ≥ 0 by Lawson and Hanson's steps (an atom whose weight would turn negative
    stops the step at 0 and goes out), on one Cholesky factor of G_SS + λI that grows by a row and
    shrinks by rotations. The objective never rises. Ends early where no α_j is positive: no atom
    would help. Ties go to the lower index.

    Args:
        gram: G_ij = ⟨a_i, a_j⟩.
        correlations: [n] c_j = ⟨a_j, t⟩.
        size: atoms at most; more than n is n.
        ridge: λ ≥ 0, in the units of G's diagonal.
        target_sq: ‖t‖².

    Returns:
        Atoms in the order they came in. No atoms where t is 0 or no c_j is positive.
    """
    size = min(size, gram.n)
    diagonal = gram.diagonal() + ridge
    floor = NOISE * float(np.max(np.abs(correlations), initial=0.0))
    support = _Support(gram, correlations, ridge, size)
    closed = diagonal <= 0.0  # zero atoms; then the chosen ones, and those that depend on them
    alpha = correlations.astype(np.float64)
    objectives: list[float] = []
    for _ in range(ROUNDS_PER_ATOM * size):
        if len(support.atoms) == size:
            break
        j = int(np.argmax(np.where(closed, -np.inf, alpha)))
        if closed[j] or alpha[j] <= floor:
            break
        closed[j] = True
        if not support.append(j, float(diagonal[j])):
            continue
        removed = support.solve()
        if removed:
            # What depended on the chosen atoms may be of use without the ones that went out; the
            # new atom itself may not be among them but for rounding, and must not come at once.
            closed = diagonal <= 0.0
            closed[support.atoms] = True
            closed[j] = True
        alpha = support.gradient()
        objectives.append(target_sq - support.explained(alpha))
    weights = support.weights
    residual_sq = target_sq - support.explained(alpha) - ridge * float(weights @ weights)
    residual = float(np.sqrt(max(0.0, residual_sq) / target_sq)) if target_sq > 0.0 else 0.0
    return Match(
        indices=np.array(support.atoms, dtype=np.int64),
        weights=weights.copy(),
        residual=residual,
        objectives=tuple(objectives),
    )


class _Support:
    """The chosen atoms S, their weights w, and L with L Lᵀ = G_SS + λI."""

    def __init__(
        self, gram: Gram, correlations: NDArray[np.float64], ridge: float, size: int
    ) -> None:
        from scipy.linalg import solve_triangular  # here: importing the package stays light

        self._solve_triangular = solve_triangular
        self._gram = gram
        self._correlations = correlations
        self._ridge = ridge
        self.atoms: list[int] = []
        self.weights = np.zeros(0)
        self._factor = np.zeros((size, size))
        # Column G_:j of each chosen atom stays in one slot while the atom is in, so that nothing is
        # moved when another goes out; _spread holds the weights by slot, 0 where a slot is free.
        self._columns = np.zeros((size, gram.n))
        self._slots: list[int] = []
        self._free = list(range(size - 1, -1, -1))
        self._spread = np.zeros(size)

    def append(self, j: int, diagonal: float) -> bool:
        """Take atom j in with weight 0; False where it depends on the chosen ones."""
        m = len(self.atoms)
        column = self._gram.column(j)
        row = self._triangular(column[self.atoms])
        pivot = diagonal - float(row @ row)
        if pivot <= DEPENDENT * diagonal:
            return False
        self._factor[m, :m] = row
        self._factor[m, m] = np.sqrt(pivot)
        slot = self._free.pop()
        self._columns[slot] = column
        self._slots.append(slot)
        self.atoms.append(j)
        self.weights = np.append(self.weights, 0.0)
        return True

    def solve(self) -> bool:
        """Move w to the minimum over w ≥ 0 on S, dropping atoms that reach 0; True if any went."""
        removed = False
        while self.atoms:
            best = self._triangular(
                self._triangular(self._correlations[self.atoms]), transposed=True
            )
            blocking = np.flatnonzero(best <= 0.0)
            if not len(blocking):
                self.weights = best
                break
            # ratio of the way to `best` at which the first weight reaches 0
            now = self.weights[blocking]
            ratios = now / np.maximum(now - best[blocking], np.finfo(np.float64).tiny)
            step = float(ratios.min())
            self.weights = np.maximum(self.weights + step * (best - self.weights), 0.0)
            for place in blocking[ratios <= step][::-1]:
                self._remove(int(place))
            removed = True
        self._spread[:] = 0.0
        self._spread[self._slots] = self.weights
        return removed

    def gradient(self) -> NDArray[np.float64]:
        """[n] α = c − Gw; on S it is λw."""
        used = len(self._spread) if not self._slots else max(self._slots) + 1
        return np.asarray(self._correlations - self._spread[:used] @ self._columns[:used])

    def explained(self, alpha: NDArray[np.float64]) -> float:
        """‖t‖² less the objective: 2cᵀw − wᵀ(G + λI)w, by α = c − Gw."""
        w = self.weights
        inner = self._correlations[self.atoms] + alpha[self.atoms]  # 2c − Gw
        return float(w @ inner - self._ridge * (w @ w))

    def _remove(self, place: int) -> None:
        """Take the atom at `place` out: delete its row of L and rotate L back to triangular."""
        m = len(self.atoms)
        factor = self._factor
        factor[place : m - 1, :m] = factor[place + 1 : m, :m]
        for i in range(place, m - 1):  # row i now has entries up to column i + 1
            a, b = factor[i, i], factor[i, i + 1]
            r = np.hypot(a, b)
            cos, sin = a / r, b / r
            left = factor[i : m - 1, i].copy()
            right = factor[i : m - 1, i + 1]
            factor[i : m - 1, i] = cos * left + sin * right
            factor[i : m - 1, i + 1] = cos * right - sin * left
        self.atoms.pop(place)
        self._free.append(self._slots.pop(place))
        self.weights = np.delete(self.weights, place)

    def _triangular(
        self, right: NDArray[np.float64], transposed: bool = False
    ) -> NDArray[np.float64]:
        """L⁻¹ right, or L⁻ᵀ right."""
        m = len(right)
        if m == 0:
            return np.zeros(0)
        solved = self._solve_triangular(
            self._factor[:m, :m], right, lower=True, trans=int(transposed), check_finite=False
        )
        return np.asarray(solved, dtype=np.float64)
