"""Inner products of last-layer gradients that are never multiplied out.

With g_i = vec(e_i ⊗ [h_i; 1]):  ⟨g_i, g_j⟩ = ⟨e_i, e_j⟩ (⟨h_i, h_j⟩ + 1), the 1 for a bias.
For cross entropy e = p − y (y may be smoothed or soft), for multi-label σ(z) − y, for squared loss
the residual.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.checks import check_finite
from automata_svc.selection.errors import SelectionError
from automata_svc.selection.types import FactoredGradients

MAX_ATOM_FLOATS = 2**25  # guess: 128 MiB of mini-batch gradients; above it, pairs of rows instead
PAIR_FLOATS = 2**21  # guess: 8 MiB for each temporary of the pairwise products


class FactoredGram:
    """The Gram matrix of n gradients, a column at a time in O(n(C + d)); float64."""

    def __init__(self, gradients: FactoredGradients) -> None:
        self._errors = gradients.errors.astype(np.float64)
        self._inputs = gradients.inputs.astype(np.float64)
        self._one = float(gradients.bias)

    @property
    def n(self) -> int:
        return len(self._errors)

    def diagonal(self) -> NDArray[np.float64]:
        """[n] ‖g_j‖²."""
        squares = np.einsum("ij,ij->i", self._inputs, self._inputs) + self._one
        return np.asarray(np.einsum("ij,ij->i", self._errors, self._errors) * squares)

    def column(self, j: int) -> NDArray[np.float64]:
        """[n] ⟨g_i, g_j⟩ for all i."""
        inputs = self._inputs @ self._inputs[j] + self._one
        return np.asarray((self._errors @ self._errors[j]) * inputs)

    def target(self) -> tuple[NDArray[np.float64], float]:
        """([n] ⟨g_i, Σ_j g_j⟩, ‖Σ_j g_j‖²), through the C × (d+1) matrix Σ_j e_j ⊗ [h_j; 1]."""
        along = self._inputs @ (self._errors.T @ self._inputs).T  # [n, C] h_iᵀ Σ_j h_j e_jᵀ
        along += self._one * self._errors.sum(axis=0)
        correlations = np.einsum("ij,ij->i", self._errors, along)
        return np.asarray(correlations), float(correlations.sum())


def check_gradients(gradients: FactoredGradients, rows: NDArray[np.int64]) -> None:
    """Raises SelectionError where the gradients are not one per row, or not finite."""
    lengths = len(gradients.errors), len(gradients.inputs)
    if lengths != (len(rows), len(rows)):
        raise SelectionError(
            f"gradients of {len(rows)} rows were asked for; "
            f"{lengths[0]} errors and {lengths[1]} inputs came back"
        )
    check_finite("error at the logits", gradients.errors, rows)
    check_finite("input of the head", gradients.inputs, rows)


def atom_gram(gradients: FactoredGradients, bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """⟨G_B, G_B'⟩ of mini-batch gradients G_B = mean of g_i over B.

    Two ways with the same result: the C × (d+1) matrices E_Bᵀ [H_B, 1] of all batches side by side,
    or, where they would take more than MAX_ATOM_FLOATS, the mean over pairs of rows of ⟨g_i, g_j⟩.

    Args:
        gradients: n rows, batch after batch.
        bounds: [b+1] batch B holds the rows from bounds[B] to bounds[B+1], at least one.

    Returns:
        [b, b] symmetric.

    Raises:
        SelectionError: a product is too large for a float.
    """
    width = gradients.errors.shape[1] * (gradients.inputs.shape[1] + 1)
    by_matrix = (len(bounds) - 1) * width <= MAX_ATOM_FLOATS
    with np.errstate(over="ignore", invalid="ignore"):  # said once, below
        gram = _by_matrices(gradients, bounds) if by_matrix else _by_pairs(gradients, bounds)
    if not np.isfinite(gram).all():
        raise SelectionError("gradients are too large to be multiplied; has the training diverged?")
    return 0.5 * (gram + gram.T)


def mismatch(
    gradients: FactoredGradients, places: NDArray[np.int64], weights: NDArray[np.float32]
) -> float:
    """How far a weighted mean of some gradients is from the mean of all, relative to the latter.

    Args:
        gradients: n rows.
        places: [k] of them.
        weights: [k] of mean 1.

    Returns:
        ‖(1/k) Σ w_i g_i − (1/n) Σ g_j‖ / ‖(1/n) Σ g_j‖; 0 where all gradients cancel.
    """
    some = FactoredGradients(
        gradients.errors[places] * (weights[:, None] / np.float32(len(places))),
        gradients.inputs[places],
        gradients.bias,
    )
    target = _sum(gradients) / len(gradients.errors)
    length = float(np.linalg.norm(target))
    return float(np.linalg.norm(_sum(some) - target)) / length if length > 0.0 else 0.0


def _sum(g: FactoredGradients) -> NDArray[np.float64]:
    """[C, d+1] Σ e_i ⊗ [h_i; 1]."""
    column = float(g.bias) * g.errors.sum(axis=0, dtype=np.float64)
    return np.column_stack([(g.errors.T @ g.inputs).astype(np.float64), column])


def _by_matrices(g: FactoredGradients, bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    n_classes, width = g.errors.shape[1], g.inputs.shape[1]
    atoms = np.zeros((len(bounds) - 1, n_classes, width + 1), dtype=np.float32)
    for atom, start, stop in zip(atoms, bounds[:-1], bounds[1:], strict=True):
        errors = g.errors[start:stop] / np.float32(stop - start)
        atom[:, :width] = errors.T @ g.inputs[start:stop]
        if g.bias:
            atom[:, width] = errors.sum(axis=0)
    flat = atoms.reshape(len(atoms), -1)
    gram = np.zeros((len(atoms), len(atoms)), dtype=np.float64)
    step = max(1, PAIR_FLOATS // (2 * len(atoms)))
    for start in range(0, flat.shape[1], step):
        part = flat[:, start : start + step].astype(np.float64)
        gram += part @ part.T
    return gram


def _by_pairs(g: FactoredGradients, bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    sizes = np.diff(bounds)
    n_atoms = len(sizes)
    gram = np.empty((n_atoms, n_atoms), dtype=np.float64)
    step = max(1, PAIR_FLOATS // (len(g.errors) * int(sizes.max())))
    for first in range(0, n_atoms, step):
        last = min(n_atoms, first + step)
        start, stop = bounds[first], bounds[last]
        products = g.inputs[start:stop] @ g.inputs.T
        products += np.float32(g.bias)
        products *= g.errors[start:stop] @ g.errors.T
        rows = np.add.reduceat(products, bounds[first:last] - start, axis=0, dtype=np.float64)
        gram[first:last] = np.add.reduceat(rows, bounds[:-1], axis=1)
    return np.asarray(gram / np.outer(sizes, sizes))
