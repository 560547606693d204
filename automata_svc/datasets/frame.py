"""A table with named columns as numbers: categories and fillings come from the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.tabular import LARGEST, Numbers, fit_numbers
from automata_svc.errors import Problem

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 1_000  # guess: more distinct texts than this are names or free text


@dataclass(frozen=True)
class Columns:
    """How each column becomes features, in the order of the file."""

    fillings: Mapping[str, float]  # numeric column → median of its training rows
    categories: Mapping[str, tuple[str, ...]]  # text column → training categories, sorted
    numbers: Numbers
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.numbers.width

    def apply(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        return self.numbers.apply(_matrix(frame, self.fillings, self.categories))


def fit_columns(frame: pd.DataFrame) -> Columns:
    """Categories, medians and scaling of the training rows."""
    fillings: dict[str, float] = {}
    categories: dict[str, tuple[str, ...]] = {}
    notes = []
    for name, column in frame.items():
        absent = int(column.isna().sum())
        if is_number(column):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            known = values[~np.isnan(values)]
            fillings[str(name)] = float(np.median(known)) if len(known) else 0.0
            if absent:
                notes.append(
                    f"column '{name}': {absent:,} missing training values become the median "
                    f"{fillings[str(name)]:.6g}"
                )
        else:
            categories[str(name)] = tuple(sorted(map(str, column.dropna().unique())))
            notes.append(
                f"column '{name}': one-hot of {len(categories[str(name)])} training categories; "
                "an unknown or missing one is all zeros"
            )
    numbers = fit_numbers(_matrix(frame, fillings, categories), "columns")
    return Columns(fillings, categories, numbers, (*notes, *numbers.notes))


def is_number(column: pd.Series[Any]) -> bool:
    from pandas.api.types import is_numeric_dtype

    return bool(is_numeric_dtype(column.dtype))


def check_frame(frame: pd.DataFrame, train: NDArray[np.int64]) -> list[Problem]:
    """Mistakes in the columns of a table; `train` are its training rows."""
    problems = []
    if frame.shape[1] == 0:
        problems.append(Problem("", "has no column besides the target"))
    for name, column in frame.items():
        if is_number(column):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            if bad := int((np.abs(values) > LARGEST).sum()):
                problems.append(
                    Problem(
                        str(name),
                        f"{bad:,} values are infinite or beyond {LARGEST:g}; fill or drop",
                    )
                )
        elif (distinct := column.iloc[train].nunique()) > MAX_CATEGORIES:
            said = (
                f"{distinct:,} distinct texts in training rows are too many to be categories "
                f"(at most {MAX_CATEGORIES:,}); drop the column or encode it"
            )
            problems.append(Problem(str(name), said))
    return problems


def _matrix(
    frame: pd.DataFrame,
    fillings: Mapping[str, float],
    categories: Mapping[str, tuple[str, ...]],
) -> NDArray[np.float64]:
    parts = []
    for name, column in frame.items():
        if str(name) in fillings:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            parts.append(np.where(np.isnan(values), fillings[str(name)], values)[:, None])
        else:
            known = categories[str(name)]
            number = {text: i for i, text in enumerate(known)}
            cells = zip(column, column.isna(), strict=True)
            codes = np.array([-1 if gone else number.get(str(cell), -1) for cell, gone in cells])
            parts.append((codes[:, None] == np.arange(len(known))).astype(np.float64))
    return np.concatenate(parts, axis=1) if parts else np.empty((len(frame), 0))
