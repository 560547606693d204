"""What the table of named sets holds: where a set may lie, how to read it, how to get it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from automata_svc.datasets.raw import Found, Raw
from automata_svc.errors import NotFound


@dataclass(frozen=True)
class Form:
    """One form a set comes in: these files together, and what reads them."""

    files: tuple[str, ...]  # below <data dir>/<name>/
    read: Callable[[Sequence[Path]], Raw]
    folder: Callable[[], Path | None] | None = None  # where a library ships them; None: data dirs


@dataclass(frozen=True)
class NamedSet:
    """A set that a job may name. Its splits are fixed, so that results compare."""

    name: str
    kind: Literal["tabular", "text"]
    about: str  # one line: rows, features, classes, splits
    get: str  # who publishes it, and which files to put where
    forms: tuple[Form, ...]  # the first one that is complete is taken

    def find(self, data_dirs: Sequence[Path]) -> Found | None:
        """The files, in the first folder that has them all."""
        for form in self.forms:
            shipped = form.folder() if form.folder is not None else None
            folders = [shipped] if shipped is not None else [dir / self.name for dir in data_dirs]
            for folder in folders:
                files = tuple(folder / file for file in form.files)
                if all(file.is_file() for file in files):
                    return Found(self.name, files, self.name, partial(form.read, files))
        return None

    def need(self, data_dirs: Sequence[Path]) -> Found:
        """The files.

        Raises:
            NotFound: says what was looked for, where, and how to get it.
        """
        found = self.find(data_dirs)
        if found is None:
            looked = " or ".join(" and ".join(form.files) for form in self.forms)
            folders = ", ".join(str(dir / self.name) for dir in data_dirs)
            places = f"in {folders}" if folders else "but AUTOMATA_DATA_DIRS names no folder"
            raise NotFound(f"dataset '{self.name}': looked for {looked} {places}. {self.get}")
        return found
