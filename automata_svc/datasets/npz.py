"""Numeric arrays from a NumPy archive; never a pickle.

Either `X`, `y` (with row numbers `train_idx`, `val_idx`, `test_idx` as far as the splits are fixed)
or `X_train`, `y_train`, `X_test`, `y_test` and maybe `X_val`, `y_val`; `class_names` in both.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.raw import Raw
from automata_svc.datasets.rows import check_given, stack
from automata_svc.errors import Problem, SpecError

SPLITS = ("train", "val", "test")


def read_npz(files: Mapping[str, Path], target: str | None = None) -> Raw:
    """Rows of an archive; `files` may name others with the rows of "val" and "test".

    Raises:
        SpecError: what the archive lacks or holds too much of; all of it.
    """
    main = load_arrays(files["train"])
    problems: list[Problem] = []
    if target is not None:
        problems.append(Problem("target", "an npz names its labels y; the field is for csv, jsonl"))
    whole = "X" in main
    wanted = ["X", "y"] if whole else ["X_train", "y_train"]
    wanted += [] if whole else [f"{letter}_val" for letter in "Xy" if _any(main, "val")]
    wanted += [] if whole else [f"{letter}_test" for letter in "Xy" if _any(main, "test")]
    absent = [name for name in wanted if name not in main]
    if absent:
        held = ", ".join(sorted(main)) or "nothing"
        right = "X and y, or X_train, y_train, X_test and y_test"
        problems.append(
            Problem("", f"has no {' and no '.join(absent)}; right is {right}; it holds {held}")
        )
        raise SpecError(problems, source=files["train"].name)
    parts = (
        {"train": (main["X"], main["y"])}
        if whole
        else {
            split: (main[f"X_{split}"], main[f"y_{split}"])
            for split in SPLITS
            if f"X_{split}" in main
        }
    )
    given = {s: main[f"{s}_idx"] for s in SPLITS if whole and f"{s}_idx" in main}
    for split in ("val", "test"):
        if split in files:
            if split in parts or split in given:
                problems.append(
                    Problem(split, f"is in {files['train'].name} and in a file of its own")
                )
            other = load_arrays(files[split])
            if "X" not in other or "y" not in other:
                problems.append(Problem(split, f"{files[split].name} has no X and y"))
            else:
                parts[split] = (other["X"], other["y"])
    problems += _check_parts(parts)
    if problems:
        raise SpecError(problems, source=files["train"].name)
    x, y, splits = stack(parts)
    problems += check_given(given, len(main["X"]) if whole else 0)
    if given and "train" not in given and not problems:
        rest = np.setdiff1d(np.arange(len(main["X"])), np.concatenate(list(given.values())))
        given = {"train": rest, **given}
    names = main.get("class_names")
    if names is not None and (names.ndim != 1 or names.dtype.kind not in "US"):
        problems.append(Problem("class_names", "is no list of texts"))
        names = None
    return Raw(
        x=x,
        y=y,
        splits={} if problems else {**splits, **given},
        class_names=None if names is None else tuple(str(name) for name in names.astype(str)),
        scaling="pixels" if x.ndim > 2 else "columns",
        problems=tuple(problems),
    )


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive.

    Raises:
        SpecError: it is no archive, is broken, or holds Python objects.
    """
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is one array, not an archive of arrays by name")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        said = str(error).split("\n")[0]
        if "pickle" in said.lower():
            said = "it holds Python objects (pickles), which are never loaded; store plain arrays"
        raise SpecError(f"cannot be read as npz: {said}", source=path.name) from error


def _any(arrays: Mapping[str, NDArray[Any]], split: str) -> bool:
    return f"X_{split}" in arrays or f"y_{split}" in arrays


def _check_parts(parts: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> list[Problem]:
    problems = []
    first = next(iter(parts.values()))[0]
    for split, (x, y) in parts.items():
        if x.shape[1:] != first.shape[1:]:
            problems.append(
                Problem(split, f"rows are {x.shape[1:]}, training rows {first.shape[1:]}")
            )
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
            rows = [str(len(part)) if part.ndim else "one number" for part in (x, y)]
            problems.append(Problem(split, f"has {rows[0]} rows in X and {rows[1]} labels in y"))
    if not problems and len({y.dtype.kind in "US" for _, y in parts.values()}) > 1:
        problems.append(Problem("y", "holds texts in one split and numbers in another"))
    return problems
