"""Row numbers: of parts that stand one behind the other, and of splits that somebody gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.errors import Problem


def stack(
    parts: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
) -> tuple[NDArray[Any], NDArray[Any], dict[str, NDArray[np.int64]]]:
    """One table of several parts and the row numbers of each; none where there is one part."""
    if len(parts) == 1:
        x, y = next(iter(parts.values()))
        return x, y, {}
    return (
        np.concatenate([x for x, _ in parts.values()]),
        np.concatenate([y for _, y in parts.values()]),
        row_numbers({split: len(y) for split, (_, y) in parts.items()}),
    )


def row_numbers(sizes: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Row numbers of parts that stand one behind the other."""
    ends = np.cumsum(list(sizes.values()))
    return {
        split: np.arange(end - size, end, dtype=np.int64)
        for (split, size), end in zip(sizes.items(), ends, strict=True)
    }


def check_given(given: Mapping[str, NDArray[Any]], n: int) -> list[Problem]:
    """Mistakes in row numbers: no numbers, out of range, twice, in two splits."""
    problems = []
    for split, rows in given.items():
        pointer = f"{split}_idx"
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            problems.append(Problem(pointer, f"is {rows.dtype} {rows.shape}; right: row numbers"))
        elif rows.size and (rows.min() < 0 or rows.max() >= n):
            problems.append(Problem(pointer, f"has rows outside 0..{n - 1:,}"))
        elif len(np.unique(rows)) != rows.size:
            problems.append(Problem(pointer, "names a row twice"))
    if not problems:
        names = list(given)
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                if both := len(np.intersect1d(given[one], given[other])):
                    said = f"shares {both:,} rows with {other}_idx; splits must not overlap"
                    problems.append(Problem(f"{one}_idx", said))
    return problems
