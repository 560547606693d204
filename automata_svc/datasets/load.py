"""From a source to numbers: read, split, check, fit on training rows, transform."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.frame import check_frame, fit_columns
from automata_svc.datasets.kept import Kept
from automata_svc.datasets.labels import check_classes, number_classes
from automata_svc.datasets.raw import Found, Raw
from automata_svc.datasets.source import Source
from automata_svc.datasets.sources import find
from automata_svc.datasets.splits import split_rows
from automata_svc.datasets.tabular import check_numbers, fit_numbers
from automata_svc.datasets.text import Vocabulary, fit_vocabulary
from automata_svc.datasets.types import Dataset, Shape, Split
from automata_svc.errors import Damaged, Problem, SpecError
from automata_svc.settings import Settings

_SHAPES: Kept[Shape] = Kept(64)  # a service plans many jobs on few sets
LOADER_VERSION = 1  # raise it when the same files give other numbers: digests are keyed by it


class Fit(Protocol):
    """What was learned from training rows: turns rows of its kind of table into features."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def width(self) -> int: ...  # features of a row

    def apply(self, x: Any, /) -> NDArray[Any]: ...


def load_dataset(spec: object, settings: Settings) -> Dataset:
    """Training and validation rows, ready to be trained on; the test rows stay closed.

    Args:
        spec: a name, or an object or mapping with name, path, target, test and val (`Source`).
        settings: its data_dirs are where named sets are looked for.

    Raises:
        SpecError: the source is not usable as it is; all its mistakes.
        NotFound: it is not on this machine; the message says how to get it.
    """
    found = find(Source.of(spec), settings)
    prepared = _prepare(found)
    return Dataset(
        shape=prepared.shape,
        train=_split(prepared, "train"),
        val=_split(prepared, "val"),
        open_test=partial(_open_test, found, prepared.rows, prepared.fit, prepared.shape.digest),
        texts=_select(prepared.raw, prepared.rows["train"])
        if prepared.shape.kind == "text"
        else None,
    )


def _open_test(found: Found, rows: Mapping[str, NDArray[np.int64]], fit: Fit, digest: str) -> Split:
    """Read the files again: until now no test row was scaled, counted or kept."""
    raw = found.read()
    if _digest(found, rows) != digest:
        names = ", ".join(str(file) for file in found.files)
        raise Damaged(f"dataset '{found.name}' changed since it was loaded: {names}")
    labels, _, _ = _labels(raw)
    return Split(fit.apply(_select(raw, rows["test"])), labels[rows["test"]])


def describe(spec: object, settings: Settings) -> Shape:
    """What a template and a plan need to know; the same shape and digest as loading gives.

    Reads and checks the files, but transforms no row; files that did not change are not read again.

    Raises:
        As `load_dataset`.
    """
    found = find(Source.of(spec), settings)
    key = (found.name, found.files, found.rule)
    return _SHAPES.get(key, found.files, lambda: _prepare(found).shape)


@dataclass(frozen=True)
class _Prepared:
    raw: Raw
    labels: NDArray[np.int64]  # [N] of all rows
    rows: Mapping[str, NDArray[np.int64]]  # row numbers by split
    fit: Fit
    shape: Shape


def _prepare(found: Found) -> _Prepared:
    raw = found.read()
    labels, names, problems = _labels(raw)
    problems = [*raw.problems, *problems]
    if isinstance(raw.x, np.ndarray):
        problems = problems + check_numbers(raw.x)
    rows: Mapping[str, NDArray[np.int64]] = {}
    notes: list[str] = []
    if names and not raw.problems:
        rows, notes, mistakes = split_rows(labels, raw.splits, names, raw.held_out, raw.label)
        problems = problems + mistakes
    if rows:
        problems = problems + check_classes(labels, rows, names)
    if not isinstance(raw.x, np.ndarray | tuple):
        train = rows["train"] if rows else np.arange(len(raw.y))
        problems = problems + check_frame(raw.x, train)
    if problems:
        raise SpecError(problems, source=found.files[0].name)
    if idle := len(labels) - sum(map(len, rows.values())):
        notes.append(f"{idle:,} of {len(labels):,} rows are in no split and not used")
    fit = _fit(raw, rows["train"])
    if fit.width == 0:
        raise SpecError(Problem("", "no feature is left to learn from"), source=found.files[0].name)
    shape = Shape(
        name=found.name,
        kind=raw.kind,
        n_train=len(rows["train"]),
        n_val=len(rows["val"]),
        n_test=len(rows["test"]),
        n_classes=len(names),
        n_features=fit.width,
        vocabulary=fit.size if isinstance(fit, Vocabulary) else 0,
        class_names=names,
        digest=_digest(found, rows),
        notes=(*raw.notes, *notes, *fit.notes),
    )
    return _Prepared(raw, labels, rows, fit, shape)


def _labels(raw: Raw) -> tuple[NDArray[np.int64], tuple[str, ...], list[Problem]]:
    """[N] class numbers, those of rows that are in no split −1; names; mistakes."""
    if "train" not in raw.splits or raw.y.ndim != 1:
        return number_classes(raw.y, raw.class_names, raw.label)
    used = np.concatenate([np.asarray(rows, np.int64) for rows in raw.splits.values()])
    numbers, names, problems = number_classes(raw.y[used], raw.class_names, raw.label)
    labels = np.full(len(raw.y), -1, dtype=np.int64)
    if names:
        labels[used] = numbers
    return labels, names, problems


def _fit(raw: Raw, train: NDArray[np.int64]) -> Fit:
    if isinstance(raw.x, tuple):
        return fit_vocabulary(_select(raw, train))
    if isinstance(raw.x, np.ndarray):
        return fit_numbers(_select(raw, train), raw.scaling)
    return fit_columns(_select(raw, train))


def _split(prepared: _Prepared, name: str) -> Split:
    rows = prepared.rows[name]
    return Split(prepared.fit.apply(_select(prepared.raw, rows)), prepared.labels[rows])


def _select(raw: Raw, rows: NDArray[np.int64]) -> Any:
    """Rows of the table, as the kind of table it is."""
    if isinstance(raw.x, tuple):
        return tuple(raw.x[row] for row in rows)
    return raw.x[rows] if isinstance(raw.x, np.ndarray) else raw.x.iloc[rows]


def _digest(found: Found, rows: Mapping[str, NDArray[np.int64]]) -> str:
    """SHA-256 over the source bytes, how they are read, and the rows of each split."""
    total = hashlib.sha256(f"automata dataset {LOADER_VERSION} {found.rule}\n".encode())
    for file in found.files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    for split in sorted(rows):
        part = np.ascontiguousarray(rows[split], dtype="<i8")
        total.update(f"{split} {len(part)}\n".encode() + part.tobytes())
    return total.hexdigest()
