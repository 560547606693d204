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

OTHER_MARKS = ";\t|"  # between columns in files that are no csv as it is read here


def read_csv(files: Mapping[str, Path], target: str | None = None) -> Raw:
    """Rows of a csv (also gzipped) with a header; `target` names the column to predict.

    Raises:
        SpecError: no such column, missing labels, columns that differ between files; all of it.
    """
    import pandas as pd

    frames = {split: _load(path, target) for split, path in files.items()}
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


def _load(path: Path, target: str | None) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, low_memory=False)
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # pandas' own are ValueErrors
        said = f"cannot be read as csv: {str(error).splitlines()[0]}"
        right = "; right is UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise SpecError(said + right, source=path.name) from error
    names = header.iloc[0].tolist()
    if len(names) == 1 and (other := [mark for mark in OTHER_MARKS if mark in names[0]]):
        said = f"has {other[0]!r} between its columns; right is a comma"
        raise SpecError(said, source=path.name)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first fields for row names
        fields = len(names) + frame.index.nlevels
        said = f"has rows of {fields} fields below a header of {len(names)}; name every column"
        raise SpecError(said, source=path.name)
    if names.count(target) > 1:
        said = f"{names.count(target)} columns are called '{target}'; one is what to predict"
        raise SpecError(Problem("target", said), source=path.name)
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
