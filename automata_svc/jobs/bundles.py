"""Templates, datasets and code that were pushed: kept by content, found by name@sha256.

    bundles/<sha256>    the bytes; a row of the database says whose they are, and their name

A bundle belongs to a project; another project's is as if it were not there, whoever knows its name.
On each machine that needs its files they are unpacked once, below AUTOMATA_HOME/cache/bundles.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automata_svc.datasets import Source
from automata_svc.datasets.bundled import source_in
from automata_svc.errors import Damaged, NotFound
from automata_svc.settings import Settings
from automata_svc.spec.archive import Packed
from automata_svc.spec.bundle import (
    BundleRef,
    Kind,
    as_ref,
    bundle_key,
    check_ref,
    looks_like_ref,
    name_from,
)
from automata_svc.trials.templates import Template, parse_template

if TYPE_CHECKING:
    from automata_svc.blobs import BlobStore
    from automata_svc.database import BundleRow
    from automata_svc.database.store import Database
    from automata_svc.jobs.planner import Planned


def cache_of(settings: Settings) -> Path:
    """Where this machine unpacks bundles."""
    return settings.home / "cache" / "bundles"


@dataclass(frozen=True)
class Code:
    """The folder a job's template may import from, as the job keeps it."""

    name: str
    sha256: str  # of the tar.gz

    def to_json(self) -> Mapping[str, Any]:
        return {"name": self.name, "sha256": self.sha256}

    @classmethod
    def from_json(cls, body: Mapping[str, Any] | None) -> Code | None:
        return None if body is None else cls(str(body["name"]), str(body["sha256"]))


class Bundles:
    """All bundles of a service; `of` gives those of one project."""

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database, self.store, self.settings, self._clock = database, store, settings, clock

    def of(self, project: str) -> ProjectBundles:
        return ProjectBundles(self, project)

    def keep(
        self,
        project: str,
        kind: Kind,
        name: str,
        sha256: str,
        size: int,
        manifest: Mapping[str, Any],
        created_by: str | None = None,
    ) -> BundleRow:
        """Writes down a bundle whose bytes are in the store; again, and nothing changes."""
        from automata_svc.database import BundleRow

        text = json.dumps(manifest, ensure_ascii=False)
        self.database.add_bundle(
            BundleRow(project, kind, name, sha256, size, text, self._clock(), created_by)
        )
        return self.database.get_bundle(project, kind, name, sha256)

    def keep_code(self, project: str, folder: Path, packed: Packed) -> Code:
        """Stores a folder of this machine's user, so that workers can get it."""
        code = Code(name_from(folder.resolve().name or "code", "code"), packed.sha256)
        key = bundle_key(packed.sha256)
        manifest = code_manifest({name: None for name in packed.files})

        def keep() -> BundleRow:
            if not self._is_there(key, len(packed.data)):
                self.store.put(key, packed.data)
            return self.keep(project, "code", code.name, packed.sha256, len(packed.data), manifest)

        self.keeping(packed.sha256, keep)
        return code

    def keeping(self, sha256: str, keep: Callable[[], BundleRow]) -> BundleRow:
        """Stores bytes and their row while nobody takes these very bytes away as an orphan's."""
        from automata_svc.blobs import single_flight

        return single_flight(self.store, bundle_key(sha256), keep, lambda: None).value

    def is_stored(self, row: BundleRow) -> bool:
        """Whether the bytes of a bundle are there, as far as their number says."""
        return self._is_there(bundle_key(row.sha256), row.size)

    def stream(self, sha256: str) -> Iterator[bytes]:
        """The bytes of a bundle, unchecked.

        Raises:
            NotFound: they are gone.
        """
        return self.store.stream(bundle_key(sha256))

    def read(self, row: BundleRow) -> bytes:
        """The bytes of a small bundle.

        Raises:
            Damaged: they are not what was pushed, or gone.
        """
        ref = BundleRef(row.name, row.sha256)
        again = f"{row.kind} {ref.short} is damaged in the store; push it again"
        try:
            return self.store.get_checked(bundle_key(row.sha256), row.sha256)
        except (NotFound, Damaged) as error:
            raise Damaged(again) from error

    def _is_there(self, key: str, size: int) -> bool:
        try:
            return self.store.size(key) == size
        except NotFound:
            return False


class ProjectBundles:
    """What a job of one project can name by name@sha256."""

    def __init__(self, bundles: Bundles, project: str) -> None:
        self._all, self.project = bundles, project

    def row(self, kind: Kind, text: str) -> BundleRow:
        """The row of name@sha256.

        Raises:
            SpecError: the text is no such reference.
            NotFound: the project has no such bundle; says what it has of that name.
        """
        ref = check_ref(text)
        try:
            return self._all.database.get_bundle(self.project, kind, ref.name, ref.sha256)
        except NotFound:
            raise NotFound(self._absent(kind, ref)) from None

    def template(self, text: str) -> Template:
        """A pushed template, read and checked; its code is not run.

        Raises:
            As `row`; Damaged: its bytes are not what was pushed.
        """
        row = self.row("template", text)
        ref = BundleRef(row.name, row.sha256)
        return parse_template(self._all.read(row), row.name, f"{ref.short}.py")

    def source(self, source: Source) -> Source:
        """The files of a pushed dataset; any other source as it is.

        Raises:
            As `row`; Damaged: its bytes are not what was pushed.
            Unavailable: there is no space to unpack it.
        """
        if source.name is None or not looks_like_ref(source.name):
            return source
        return source_in(self.unpacked(self.row("dataset", source.name)))

    def code(self, text: str) -> Code:
        """Pushed code.

        Raises:
            As `row`.
        """
        row = self.row("code", text)
        return Code(row.name, row.sha256)

    def files_of(self, code: Code) -> dict[str, bytes]:
        """The files of a job's code, by name.

        Raises:
            As `row`; Damaged: its bytes are not what was pushed.
        """
        folder = self.unpacked(self.row("code", f"{code.name}@{code.sha256}"))
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    def unpacked(self, row: BundleRow) -> Path:
        """The folder with the files of a dataset or of code, on this machine."""
        from automata_svc.blobs.unpacked import unpacked

        form = "tar" if row.kind == "dataset" else "tar.gz"
        source = partial(self._all.stream, row.sha256)
        try:
            settings = self._all.settings
            return unpacked(cache_of(settings), row.sha256, form, source, settings.cache_bytes)
        except NotFound as error:
            ref = BundleRef(row.name, row.sha256)
            raise Damaged(f"{row.kind} {ref.short} is gone from the store; push it again") from (
                error
            )

    def _absent(self, kind: Kind, ref: BundleRef) -> str:
        has = self._all.database.list_bundles(self.project, kind, limit=3, name=ref.name)
        said = f"no {kind} {ref.short} was pushed to project '{self.project}'"
        if has:
            known = ", ".join(BundleRef(row.name, row.sha256).short for row in has)
            said += f"; of that name it has: {known}"
        return said


def code_manifest(files: Mapping[str, int | None]) -> Mapping[str, Any]:
    """What is written down of code: how many files, and the first of their names."""
    return {"files": len(files), "names": sorted(files)[:100]}


def pack(folder: str) -> Packed:
    """The folder of `trial.code`, packed.

    Raises:
        SpecError: it cannot be, with every mistake.
    """
    from automata_svc.spec.archive import pack_folder

    return pack_folder(Path(folder).expanduser())


def keep_code(bundles: Bundles, planned: Planned) -> Planned:
    """Stores the folder that a job of this machine's user names, so that workers can get it."""
    if not isinstance(planned.code, Packed):
        return planned
    folder = Path(planned.job.spec.trial.code or "").expanduser()
    code = bundles.keep_code(planned.job.metadata.project, folder, planned.code)
    return replace(planned, code=code)


def named_by(planned: Planned) -> tuple[tuple[Kind, str, str], ...]:
    """(kind, name, sha256) of each bundle that a checked job names."""
    trial = planned.job.spec.trial
    texts: list[tuple[Kind, str | None]] = [
        ("template", trial.template),
        ("dataset", None if trial.dataset is None else trial.dataset.name),
    ]
    refs = [(kind, as_ref(text)) for kind, text in texts if text is not None]
    found = [(kind, ref.name, ref.sha256) for kind, ref in refs if ref is not None]
    if isinstance(planned.code, Code):
        found.append(("code", planned.code.name, planned.code.sha256))
    return tuple(found)


def code_of(planned: Planned) -> dict[str, Any]:
    """What a job's record holds of its code, beside its template; {}: it has none."""
    return {"code": planned.code.to_json()} if isinstance(planned.code, Code) else {}
