"""What a source hands over: rows as they were published, before they are split, scaled or counted.

Letters in shapes: N rows of all splits together, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from automata_svc.errors import Problem

if TYPE_CHECKING:
    import pandas as pd

Scaling = Literal["columns", "pixels"]


@dataclass(frozen=True)
class Raw:
    """All rows of a dataset in one table; a split is a list of row numbers in it."""

    # numbers [N, d] or images [N, h, w, …]; a frame of N rows; N texts
    x: NDArray[Any] | pd.DataFrame | tuple[str, ...]
    y: NDArray[Any]  # [N] labels as published: whole numbers, or texts
    # row numbers by split ("train", "val", "test"); {}: nothing is fixed, all is to be split
    splits: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None  # of label 0, 1, …; where labels are whole numbers
    held_out: int | None = None  # rows to take for a missing validation split; None: 20 %
    scaling: Scaling = "columns"  # pixels: one mean and one deviation for all features
    label: str = "y"  # what the labels are called in the file, for messages
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()  # found while reading; the rest is still looked through

    @property
    def kind(self) -> Literal["tabular", "text"]:
        return "text" if isinstance(self.x, tuple) else "tabular"


@dataclass(frozen=True)
class Found:
    """A source that was found: the files it stands in, and how to read them."""

    name: str
    files: tuple[Path, ...]  # everything that `read` reads; the digest is over their bytes
    rule: str  # how they are read: files of equal bytes give other rows under another rule
    read: Callable[[], Raw]
