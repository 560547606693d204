"""Datasets as they are pushed: the files of a path, with what a job would say of them.

    manifest.json    {"format": 1, "path": "mine.csv", "target": "label", "test": …, "val": …}
    mine.csv         and, where there are, mine.test.csv and mine.val.csv

In a plain tar: what is large is compressed already, or is split off by its reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automata_svc.datasets.source import Source
from automata_svc.errors import Damaged, Problem, SpecError
from automata_svc.spec.archive import Readable, members
from automata_svc.spec.bundle import DATASET_FORMAT, DATASET_MANIFEST, MAX_BYTES, MB
from automata_svc.spec.job import DATASET_SUFFIXES

_KEYS = frozenset({"format", "path", "target", "test", "val"})
MAX_MANIFEST = 64 * 1024


@dataclass(frozen=True)
class Manifest:
    """What a job would say of the files."""

    path: str
    target: str | None = None
    test: str | None = None
    val: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(name for name in (self.path, self.test, self.val) if name is not None)

    def source(self, folder: Path) -> Source:
        """The unpacked files as a dataset that is named by path."""

        def at(name: str | None) -> str | None:
            return None if name is None else str(folder / name)

        return Source(path=at(self.path), target=self.target, test=at(self.test), val=at(self.val))

    def to_json(self) -> Mapping[str, Any]:
        return {"path": self.path, "target": self.target, "test": self.test, "val": self.val}


def read_manifest(raw: bytes) -> Manifest:
    """Checks the manifest of a pushed dataset.

    Raises:
        SpecError: it is none, with every mistake.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise SpecError("is not JSON", source=DATASET_MANIFEST) from None
    if not isinstance(body, dict) or body.get("format") != DATASET_FORMAT or body.keys() - _KEYS:
        raise SpecError(f"is of no form that we know: {sorted(_KEYS)}", source=DATASET_MANIFEST)
    problems = []
    for key in ("path", "target", "test", "val"):
        value = body.get(key)
        if value is None and key != "path":
            continue
        if not isinstance(value, str) or not value:
            problems.append(Problem(key, "is no text"))
        elif key != "target" and ("/" in value or not value.lower().endswith(DATASET_SUFFIXES)):
            said = f"'{value[:100]}' is no file name with one of: {', '.join(DATASET_SUFFIXES)}"
            problems.append(Problem(key, said))
    if problems:
        raise SpecError(problems, source=DATASET_MANIFEST)
    return Manifest(body["path"], body.get("target"), body.get("test"), body.get("val"))


def check_dataset(stream: Readable) -> Manifest:
    """Goes through the archive of a pushed dataset; reads no table.

    Raises:
        SpecError: it is none, or its files are not those of its manifest.
    """
    manifest, found = None, []
    for member in members(stream, "tar", MAX_BYTES["dataset"], max_files=4):
        if manifest is None:
            if member.name != DATASET_MANIFEST or member.size > MAX_MANIFEST:
                raise SpecError(f"does not begin with a {DATASET_MANIFEST}", source="archive")
            manifest = read_manifest(member.stream.read())
            continue
        found.append(member.name)
        for _ in _pieces(member.stream):
            pass
    if manifest is None or sorted(found) != sorted(manifest.files):
        wanted = ", ".join(manifest.files) if manifest is not None else DATASET_MANIFEST
        raise SpecError(f"holds {', '.join(found) or 'nothing'}, not {wanted}", source="archive")
    return manifest


def source_in(folder: Path) -> Source:
    """The dataset in the folder that its archive was unpacked into.

    Raises:
        Damaged: its manifest is not what was checked when it was pushed.
    """
    try:
        manifest = read_manifest((folder / DATASET_MANIFEST).read_bytes())
    except (OSError, SpecError) as error:
        raise Damaged(f"the unpacked dataset in {folder} has lost its manifest") from error
    return manifest.source(folder)


def _pieces(stream: Readable) -> Iterator[bytes]:
    while piece := stream.read(MB):
        yield piece
