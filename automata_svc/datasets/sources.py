"""The table of named sets, and how a source, by name or by path, is found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from automata_svc.datasets.connect4 import CONNECT4
from automata_svc.datasets.csv import read_csv
from automata_svc.datasets.digits import DIGITS
from automata_svc.datasets.fashion_mnist import FASHION_MNIST
from automata_svc.datasets.jsonl import read_jsonl
from automata_svc.datasets.letter import LETTER
from automata_svc.datasets.named import NamedSet
from automata_svc.datasets.npz import read_npz
from automata_svc.datasets.raw import Found, Raw
from automata_svc.datasets.source import Source
from automata_svc.datasets.trec6 import TREC6
from automata_svc.errors import NotFound, Problem, SpecError, UnknownName
from automata_svc.settings import Settings

SOURCES: Mapping[str, NamedSet] = MappingProxyType(
    {one.name: one for one in (DIGITS, LETTER, CONNECT4, FASHION_MNIST, TREC6)}
)

# How a file's name ends → what reads it; `files` is by split, with "train" the path of the job.
Reader = Callable[[Mapping[str, Path], str | None], Raw]
READERS: Mapping[str, Reader] = MappingProxyType(
    {
        ".npz": read_npz,
        ".csv": read_csv,
        ".csv.gz": read_csv,
        ".jsonl": read_jsonl,
        ".jsonl.gz": read_jsonl,
    }
)


@dataclass(frozen=True)
class Listed:
    """A row of `automata datasets`."""

    name: str
    kind: str
    about: str
    found: str | None  # the folder it lies in; None: it is not on this machine
    get: str  # how to get it


def list_datasets(settings: Settings) -> list[Listed]:
    """All named sets, in the table's order; nothing is read."""
    listed = []
    for one in SOURCES.values():
        found = one.find(settings.data_dirs)
        where = os.fspath(found.files[0].parent) if found else None
        listed.append(Listed(one.name, one.kind, one.about, where, one.get))
    return listed


def find(source: Source, settings: Settings) -> Found:
    """The files of a source; none is opened.

    Raises:
        UnknownName: no named set of that name.
        NotFound: its files are not here; the message says how to get them.
        SpecError: a file of a kind nothing reads.
    """
    if source.name is not None:
        if source.name not in SOURCES:
            raise UnknownName("dataset", source.name, SOURCES, pointer="name")
        return SOURCES[source.name].need(settings.data_dirs)
    given = {"path": source.path, "val": source.val, "test": source.test}
    paths = {key: Path(value).expanduser() for key, value in given.items() if value is not None}
    endings = {key: _ending(path) for key, path in paths.items()}
    problems = [
        Problem(key, f"'{paths[key]}': {_unread(paths[key])}")
        for key, ending in endings.items()
        if ending is None
    ]
    if not problems and len({READERS[ending] for ending in endings.values() if ending}) > 1:
        said = f"files of different kinds: {', '.join(path.name for path in paths.values())}"
        problems.append(Problem("", said))
    if problems:
        raise SpecError(problems)
    if absent := [str(path) for path in paths.values() if not path.is_file()]:
        whence = "" if all(map(os.path.isabs, absent)) else f" from {Path.cwd()}"
        raise NotFound(f"dataset: no such file{whence}: {', '.join(absent)}")
    files = {"train" if key == "path" else key: path for key, path in paths.items()}
    read = partial(READERS[endings["path"] or ""], files, source.target)
    rule = f"{endings['path']} {','.join(files)} target={source.target}"
    return Found(paths["path"].name, tuple(files.values()), rule, read)


def _ending(path: Path) -> str | None:
    fitting = [ending for ending in READERS if path.name.lower().endswith(ending)]
    return max(fitting, key=len) if fitting else None


def _unread(path: Path) -> str:
    hint = ""
    if path.suffix == "" and path.name in SOURCES:
        hint = f"; the set of that name is {{name: {path.name}}}"
    return f"nothing reads files like this; known endings: {', '.join(READERS)}{hint}"
