"""Features as a network wants them: float32, scaled by what the training rows look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.raw import Scaling
from automata_svc.errors import Problem


@dataclass(frozen=True)
class Numbers:
    """Shift and scale of each feature, from training rows only."""

    mean: NDArray[np.float64]  # [d]
    factor: NDArray[np.float64]  # [d] 1/deviation; 0 for a constant feature, 1 for a 0/1 feature
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return len(self.mean)

    def apply(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """[n, …] rows as float32 [n, d], C-contiguous."""
        flat = x.reshape(len(x), -1)
        out = np.empty(flat.shape, dtype=np.float32)
        for start in range(0, len(flat), _BLOCK):
            block = flat[start : start + _BLOCK].astype(np.float64)
            out[start : start + _BLOCK] = (block - self.mean) * self.factor
        return out


_BLOCK = 4096  # rows at a time: bounds the float64 copy to some tens of MB


def fit_numbers(x: NDArray[Any], scaling: Scaling) -> Numbers:
    """The scaling that training rows ask for.

    A feature is standardised to mean 0 and deviation 1; one with a single value becomes 0; one that
    holds only 0 and 1 stays as it is (one-hot groups keep their geometry). "pixels" takes one mean
    and one deviation over all features: standardising alone would blow up a near-constant corner.

    Args:
        x: [n, …] training rows, finite.
    """
    flat = x.reshape(len(x), -1)
    count, width = flat.shape
    total = np.zeros(width)
    for start in range(0, count, _BLOCK):
        total += flat[start : start + _BLOCK].astype(np.float64).sum(axis=0)
    mean = total / count
    centre = np.full(width, mean.mean()) if scaling == "pixels" else mean
    squares = np.zeros(width)
    for start in range(0, count, _BLOCK):
        squares += ((flat[start : start + _BLOCK].astype(np.float64) - centre) ** 2).sum(axis=0)
    if scaling == "pixels":
        deviation = float(np.sqrt(squares.sum() / (count * width)))
        factor = np.full(width, 1 / deviation if deviation > 0 else 0.0)
        note = f"pixels: all scaled alike, mean {centre[0]:.4g} and deviation {deviation:.4g}"
        return Numbers(centre, factor, (note + " of the training rows",))
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    constant = low == high
    binary = ~constant & (low == 0) & (high == 1) & _only_two_values(flat)
    with np.errstate(divide="ignore"):
        factor = np.where(constant, 0.0, 1 / np.sqrt(squares / count))
    mean, factor = np.where(binary, 0.0, mean), np.where(binary, 1.0, factor)
    return Numbers(mean, factor, tuple(_scaling_notes(width, constant, binary)))


def _only_two_values(flat: NDArray[Any]) -> NDArray[np.bool_]:
    """[d] whether every value of a feature is 0 or 1."""
    only = np.ones(flat.shape[1], dtype=bool)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        only &= ((block == 0) | (block == 1)).all(axis=0)
    return only


def _scaling_notes(width: int, constant: NDArray[np.bool_], binary: NDArray[np.bool_]) -> list[str]:
    scaled = width - int(constant.sum()) - int(binary.sum())
    notes = []
    if scaled:
        notes.append(f"{scaled} of {width} features standardised by the training rows")
    if binary.any():
        notes.append(f"{int(binary.sum())} features hold only 0 and 1 and stay as they are")
    if constant.any():
        notes.append(f"{int(constant.sum())} features are constant in training and become 0")
    return notes


def check_numbers(x: NDArray[Any], pointer: str = "X") -> list[Problem]:
    """Mistakes in an array of features [N, …]."""
    if x.dtype.kind not in "buif":
        return [Problem(pointer, f"holds {x.dtype}, not numbers; encode texts first, or use a csv")]
    if x.ndim < 2 or x.size == 0:
        shape = "×".join(map(str, x.shape)) or "one number"
        return [Problem(pointer, f"is {shape}; right is [rows, features], both at least 1")]
    if x.dtype.kind != "f":
        return []
    finite = np.isfinite(x.reshape(len(x), -1))
    if finite.all():
        return []
    row, column = np.argwhere(~finite)[0]
    bad = int((~finite).sum())
    said = f"{bad:,} values are NaN or infinite, the first in row {row}, feature {column}"
    return [Problem(pointer, said + "; fill or drop them first")]
