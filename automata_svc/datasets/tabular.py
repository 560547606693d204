"""Features as a network wants them: float32, scaled by what the training rows look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.raw import Scaling
from automata_svc.errors import Problem

BLOCK_VALUES = (
    2**17
)  # 1 MB of float64 stays in a core's cache (measured: a third of the time 32 MB takes)
NOISE = 1e-9  # guess: a deviation below this part of the largest value is rounding, not signal
LARGEST = 1e30  # beyond it a scaled value may not fit into float32


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
        for rows, block in _blocks(flat):
            block -= self.mean
            block *= self.factor
            out[rows] = block
        return out


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
    mean, squares = np.zeros(width), np.zeros(width)
    for _, block in _blocks(flat):
        mean += block.sum(axis=0) / count
    if scaling == "pixels":
        mean = np.full(width, mean.mean())
    for _, block in _blocks(flat):
        block -= mean
        squares += np.einsum("nd,nd->d", block, block) / count
    if scaling == "pixels":
        deviation = float(np.sqrt(squares.mean()))
        factor = np.full(width, 1 / deviation if deviation > 0 else 0.0)
        note = f"pixels: all scaled alike, mean {mean[0]:.4g} and deviation {deviation:.4g}"
        return Numbers(mean, factor, (note + " of the training rows",))
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    deviations = np.sqrt(squares)
    constant = deviations <= NOISE * np.maximum(np.abs(low), np.abs(high))
    binary = ~constant & (low == 0) & (high == 1) & _only_two_values(flat)
    factor = 1 / np.where(constant, np.inf, deviations)
    mean, factor = np.where(binary, 0.0, mean), np.where(binary, 1.0, factor)
    return Numbers(mean, factor, tuple(_scaling_notes(width, constant, binary)))


def _blocks(flat: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Rows and a float64 copy of them, a few at a time: no copy is as large as its input."""
    size = max(1, BLOCK_VALUES // flat.shape[1])
    for start in range(0, len(flat), size):
        rows = slice(start, start + size)
        yield rows, flat[rows].astype(np.float64)


def _only_two_values(flat: NDArray[Any]) -> NDArray[np.bool_]:
    """[d] whether every value of a feature is 0 or 1."""
    only = np.ones(flat.shape[1], dtype=bool)
    for _, block in _blocks(flat):
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
    flat = x.reshape(len(x), -1)
    largest = min(LARGEST, float(np.finfo(x.dtype).max))  # float16 has no 1e30, only infinity
    usable = np.abs(flat) <= x.dtype.type(largest)  # False for NaN
    if usable.all():
        return []
    row, column = np.argwhere(~usable)[0]
    bad = int((~usable).sum())
    said = (
        f"{bad:,} values are NaN or infinite (beyond {LARGEST:g}), "
        f"the first in row {row}, feature {column}"
    )
    return [Problem(pointer, said + "; fill or drop them first")]
