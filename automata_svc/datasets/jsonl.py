"""Texts with labels, one JSON object a line: {"text": …, "label": …}; also gzipped."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.raw import Raw
from automata_svc.datasets.rows import row_numbers
from automata_svc.errors import Problem, SpecError

TEXT, LABEL, LABEL_NAME = "text", "label", "label_name"
SHOWN = 5  # mistaken lines that are named


def read_jsonl(files: Mapping[str, Path], target: str | None = None) -> Raw:
    """Texts and labels; `target` is the label's field ("label"), "label_name" may name the classes.

    Raises:
        SpecError: lines that are no such object, in all files; labels of mixed kinds.
    """
    field = target or LABEL
    texts: list[str] = []
    labels: list[Any] = []
    names: dict[Any, str] = {}
    sizes: dict[str, int] = {}
    problems: list[Problem] = []
    for split, path in files.items():
        rows, mistakes = _load(path, field)
        problems += mistakes
        sizes[split] = len(rows)
        for row in rows:
            texts.append(row[TEXT])
            labels.append(row[field])
            if isinstance(row.get(LABEL_NAME), str) and field == LABEL:
                names.setdefault(row[field], row[LABEL_NAME])
    if not problems and len({isinstance(label, str) for label in labels}) > 1:
        problems.append(Problem(field, "holds texts in some lines and numbers in others"))
    if problems:
        raise SpecError(problems, source=files["train"].name)
    return Raw(
        x=tuple(texts),
        y=_array(labels),
        splits=row_numbers(sizes) if len(sizes) > 1 else {},
        class_names=_class_names(names),
        label=field,
    )


def _array(labels: list[Any]) -> NDArray[Any]:
    return np.array(labels, dtype=object if labels and isinstance(labels[0], str) else None)


def _class_names(names: Mapping[Any, str]) -> tuple[str, ...] | None:
    """[C] where the labels are exactly 0..C-1 and each has a name."""
    if names and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        if all(isinstance(label, int) for label in names):
            return tuple(names[number] for number in range(len(names)))
    return None


def _load(path: Path, field: str) -> tuple[list[dict[str, Any]], list[Problem]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            lines = stream.readlines()
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise SpecError(f"cannot be read as jsonl: {error}", source=path.name) from error
    rows, mistakes = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        said, row = _mistake(line, field)
        if said:
            mistakes.append(Problem(f"{path.name}:{number}", said))
        else:
            rows.append(row)
    if len(mistakes) > SHOWN:
        more = Problem(path.name, f"{len(mistakes) - SHOWN:,} more lines are mistaken")
        mistakes = [*mistakes[:SHOWN], more]
    if not rows and not mistakes:
        mistakes = [Problem(path.name, "holds no line")]
    return rows, mistakes


def _mistake(line: str, field: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}", {}
    if not isinstance(row, dict):
        return f'is no object; right is {{"{TEXT}": "…", "{field}": 0}}', {}
    if not isinstance(row.get(TEXT), str):
        return (
            f'has no "{TEXT}" that is a text; it has: {", ".join(map(str, row)) or "nothing"}',
            {},
        )
    if not isinstance(row.get(field), str | int | float):
        return f'has no "{field}"; it has: {", ".join(map(str, row))}', {}
    return "", row
