"""Tables with named columns: numbers stay numbers, texts become categories."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.frame import is_number
from automata_svc.datasets.raw import Raw
from automata_svc.datasets.rows import row_numbers
from automata_svc.errors import Problem, SpecError, unknown

if TYPE_CHECKING:
    import pandas as pd


def read_csv(files: Mapping[str, Path], target: str | None = None) -> Raw:
    """Rows of a csv (also gzipped) with a header; `target` names the column to predict.

    Raises:
        SpecError: no such column, missing labels, columns that differ between files; all of it.
    """
    import pandas as pd

    frames = {split: _load(path) for split, path in files.items()}
    main, source = frames["train"], files["train"].name
    columns = [str(name) for name in main.columns]
    if target is None:
        said = f"name the column to predict; {source} has: {', '.join(columns)}"
        raise SpecError(Problem("target", said))
    if target not in columns:
        said = unknown("column", target, columns)
        raise SpecError(Problem("target", said), source=source)
    problems: list[Problem] = []
    for split, frame in frames.items():
        if split != "train":
            problems += _check_columns(split, frame, main)
    if problems:
        raise SpecError(problems, source=source)
    whole = pd.concat([frame[main.columns] for frame in frames.values()], ignore_index=True)
    sizes = {split: len(frame) for split, frame in frames.items()}
    label = whole[target]
    nameless = [name for name in columns if name.startswith("Unnamed: ")]
    return Raw(
        x=whole.drop(columns=[target]),
        y=label.to_numpy() if is_number(label) else _texts(label),
        splits=row_numbers(sizes) if len(sizes) > 1 else {},
        label=target,
        notes=tuple(
            f"column {columns.index(name) + 1} has no name and is used as a feature; "
            "is it a row number that was saved along?"
            for name in nameless
        ),
    )


def _texts(column: pd.Series[Any]) -> NDArray[Any]:
    """[N] texts as objects, None where one is missing."""
    cells = [None if gone else str(cell) for cell, gone in zip(column, column.isna(), strict=True)]
    return np.array(cells, dtype=object)


def _load(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, low_memory=False)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # pandas' own are ValueErrors
        said = f"cannot be read as csv: {str(error).splitlines()[0]}"
        raise SpecError(said, source=path.name) from error
    if len(frame) == 0:
        raise SpecError("holds a header and no row", source=path.name)
    return frame


def _check_columns(split: str, frame: pd.DataFrame, main: pd.DataFrame) -> list[Problem]:
    problems = []
    if absent := [str(name) for name in main.columns if name not in frame.columns]:
        problems.append(Problem(split, f"has no column {', '.join(absent)}"))
    if extra := [str(name) for name in frame.columns if name not in main.columns]:
        problems.append(Problem(split, f"has columns that training lacks: {', '.join(extra)}"))
    for name in main.columns:
        if name in frame.columns and is_number(main[name]) != is_number(frame[name]):
            if frame[name].notna().any() and main[name].notna().any():
                kinds = ["numbers" if is_number(one[name]) else "texts" for one in (main, frame)]
                said = f"column '{name}' holds {kinds[1]}, in training {kinds[0]}"
                problems.append(Problem(split, said))
    return problems
