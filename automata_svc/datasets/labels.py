"""Labels as class numbers 0..C-1, with the names people know the classes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.errors import Problem

LARGEST = 2**53  # beyond it floats skip whole numbers


def number_classes(
    y: NDArray[Any], class_names: tuple[str, ...] | None = None, pointer: str = "y"
) -> tuple[NDArray[np.int64], tuple[str, ...], list[Problem]]:
    """Class numbers in sorted order of the labels.

    Args:
        y: [N] whole numbers (also as floats), booleans or texts.
        class_names: name of label 0, 1, …; for whole-number labels.
        pointer: what the labels are called, for messages.

    Returns:
        ([N] class numbers, [C] names, mistakes); without numbers and names if there are mistakes.
    """
    nothing = np.empty(0, dtype=np.int64)
    if y.ndim != 1:
        hint = "; one-hot labels become numbers by y.argmax(axis=1)" if y.ndim == 2 else ""
        shape = "×".join(map(str, y.shape))
        return nothing, (), [Problem(pointer, f"is {shape}; right is one label per row{hint}")]
    if y.dtype.kind == "O":  # texts, None where one is missing
        if bad := sum(label is None for label in y):
            return nothing, (), [Problem(pointer, f"{bad:,} rows have no label; drop them first")]
        y = y.astype(str)
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            bad = int((~np.isfinite(y)).sum())
            return (
                nothing,
                (),
                [
                    Problem(
                        pointer, f"{bad:,} rows have no label, or no finite one; drop them first"
                    )
                ],
            )
        if (part := y[(y != np.round(y)) | (np.abs(y) > LARGEST)]).size:
            said = (
                f"{part.size:,} values are not whole numbers, the first is {part[0]:g}; labels are "
                "classes: regression is still to come"
            )
            return nothing, (), [Problem(pointer, said)]
    if y.dtype.kind not in "fiubUS":
        return nothing, (), [Problem(pointer, f"holds {y.dtype}; right are whole numbers or texts")]
    if y.dtype.kind == "f":
        y = y.astype(np.int64)
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    known, numbers = np.unique(y, return_inverse=True)
    names = tuple(str(label) for label in known.tolist())
    if class_names is not None and y.dtype.kind in "iu":
        if known.size and (known[0] < 0 or known[-1] >= len(class_names)):
            said = f"names {len(class_names)} classes, but labels go from {known[0]} to {known[-1]}"
            return nothing, (), [Problem("class_names", said)]
        names = tuple(class_names[label] for label in known)
    if len(names) < 2:
        only = f"only the class '{names[0]}'" if names else "no label"
        return nothing, (), [Problem(pointer, f"holds {only}; two classes or more are needed")]
    return numbers.reshape(-1).astype(np.int64), names, []


def check_classes(
    labels: NDArray[np.int64], rows: Mapping[str, NDArray[np.int64]], names: tuple[str, ...]
) -> list[Problem]:
    """Splits without rows, and classes that training never sees."""
    problems = [
        Problem(split, "holds no row; each split needs some")
        for split, part in rows.items()
        if len(part) == 0
    ]
    if not problems:
        counts = np.bincount(labels[rows["train"]], minlength=len(names))
        used = np.bincount(labels[np.concatenate(list(rows.values()))], minlength=len(names))
        if (gone := np.flatnonzero((counts == 0) & (used > 0))).size:
            named = ", ".join(f"'{names[c]}'" for c in gone[:5])
            more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
            said = f"no training row of class {named}{more}, though other splits have some"
            problems.append(Problem("train", said))
    return problems
