"""Blobs as files on this machine: unpacked once, under their own digest, and checked.

    <cache>/<sha256>/index.json   the files with their sizes and digests
    <cache>/<sha256>/files/…      read, never written

An entry appears whole, by a rename, and never changes; several processes may make the same one at
once, and one of them wins. One that was damaged is made anew; one that is not used goes
(`evicting`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from automata_svc.blobs.evicting import FILES, INDEX, kept, trim
from automata_svc.errors import Damaged, Unavailable
from automata_svc.spec.archive import MAX_UNPACKED, Form, unpack

LEFT_BEHIND_S = 86_400.0  # half-made entries of killed processes go after that
BYTECODE = "__pycache__"  # what Python writes beside code is no damage

Source = Callable[[], Iterable[bytes]]

_checked: dict[Path, tuple[Any, ...]] = {}  # entries this process has read through, as they were
_lock = threading.Lock()


@contextmanager
def held(
    cache: Path, sha256: str, form: Form | str, source: Source, most_bytes: float | None = None
) -> Iterator[Path]:
    """As `unpacked`; nobody takes the folder away before the block ends."""
    entry = cache / sha256
    while True:
        with ExitStack() as locks:
            with _lock:  # threads of one process would all unpack the same
                is_there = locks.enter_context(kept(entry))
                if not (is_there and _is_whole(entry)):
                    is_there = _make_anew(cache, entry, sha256, form, source, most_bytes, locks)
            if is_there:
                yield entry / FILES
                return
        # Another process had made it first, and a third has taken that away again.


def unpacked(
    cache: Path, sha256: str, form: Form | str, source: Source, most_bytes: float | None = None
) -> Path:
    """The folder with a blob's files, made where it is missing or damaged; to be read right away.

    Args:
        cache: the folder of entries; made where it is missing.
        sha256: of the blob.
        form: "tar", "tar.gz", or the name that the blob gets as a file.
        source: gives the blob's bytes in pieces; called only where they are needed.
        most_bytes: of all entries; where another one is made, the longest unused of too many go.
            None: as many as there are.

    Raises:
        Damaged: the bytes have another digest.
        SpecError: it is no archive of plain files.
        Unavailable: no space left, or the cache cannot be written.
        Whatever `source` raises.
    """
    with held(cache, sha256, form, source, most_bytes) as folder:
        return folder


def _make_anew(
    cache: Path,
    entry: Path,
    sha256: str,
    form: str,
    source: Source,
    most_bytes: float | None,
    locks: ExitStack,
) -> bool:
    """Makes the entry, and locks it; False: it is gone already."""
    try:
        _make(cache, entry, sha256, form, source, locks)
        if most_bytes is not None:
            trim(cache, most_bytes)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"cannot unpack a bundle into {cache}: {reason}") from error
    if not locks.enter_context(kept(entry)):
        return False
    if not _is_whole(entry):
        raise Damaged(f"{entry} is damaged as soon as it is written; is the disk failing?")
    return True


def _make(
    cache: Path, entry: Path, sha256: str, form: str, source: Source, locks: ExitStack
) -> None:
    """Makes the entry, which is locked before anybody can see it."""
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    scratch = Path(tempfile.mkdtemp(prefix=f".{sha256[:12]}-", dir=cache))
    try:
        (scratch / FILES).mkdir()
        packed = scratch / "packed"
        total = hashlib.sha256()
        with packed.open("wb") as file:
            for piece in source():
                total.update(piece)
                file.write(piece)
        if total.hexdigest() != sha256:
            raise Damaged(
                f"bundle {sha256[:12]}… is damaged: what is stored has the sha256 "
                f"{total.hexdigest()[:12]}…; push it again"
            )
        if form == "tar" or form == "tar.gz":
            most = max(MAX_UNPACKED, packed.stat().st_size)
            with packed.open("rb") as stream:
                unpack(stream, "tar" if form == "tar" else "tar.gz", scratch / FILES, most)
            packed.unlink()
        else:
            packed.rename(scratch / FILES / form)
        index = json.dumps({name: _file(path) for name, path in _files(scratch / FILES)})
        (scratch / INDEX).write_text(index, encoding="utf-8")
        scratch.chmod(0o755)  # others may read what they could have pushed
        locks.enter_context(kept(scratch))
        _put_in_place(scratch, entry)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(scratch: Path, entry: Path) -> None:
    """Renames; where another process was quicker, and its entry is whole, that stays."""
    for _ in range(3):
        try:
            os.rename(scratch, entry)
            return
        except OSError:
            if not entry.exists():
                raise
        if _is_whole(entry):
            return
        aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=entry.parent))
        with suppress(FileNotFoundError):
            os.rename(entry, aside / "entry")
        shutil.rmtree(aside, ignore_errors=True)
    raise Unavailable(f"cannot put {entry} in place: others keep writing there")


def _is_whole(entry: Path) -> bool:
    """Whether the files are what was unpacked; read through once a process, then by their times."""
    try:
        found = dict(_files(entry / FILES))
        now = tuple((name, *_identity(path)) for name, path in sorted(found.items()))
        if _checked.get(entry) == now:
            return True
        index = json.loads((entry / INDEX).read_text(encoding="utf-8"))
        whole = isinstance(index, dict) and _fits(index, found)
    except (OSError, ValueError):
        return False
    if whole:
        _checked[entry] = now
    return whole


def _fits(index: Mapping[str, Any], found: Mapping[str, Path]) -> bool:
    return index.keys() == found.keys() and all(
        index[name] == _file(path) for name, path in found.items()
    )


def _identity(path: Path) -> tuple[int, ...]:
    seen = path.stat()
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _file(path: Path) -> list[Any]:
    with path.open("rb") as stream:
        return [path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != BYTECODE]
        for name in names:
            path = Path(at) / name
            yield path.relative_to(folder).as_posix(), path


def _sweep(cache: Path) -> None:
    """What processes that were killed amid their work have left."""
    now = time.time()
    for path in cache.glob(".*-*"):
        with suppress(OSError):
            if now - path.stat().st_mtime > LEFT_BEHIND_S:
                shutil.rmtree(path, ignore_errors=True)
