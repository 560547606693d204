"""Unpacked blobs that go: those that are not wanted any more, and the oldest of too many.

An entry is in use while somebody holds the lock of its index (`unpacked.held`), and for some time
after it was last asked for: who reads its files right away need not hold it. The kernel gives the
lock of a killed process back.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

INDEX, FILES = "index.json", "files"
RECENT_S = 3_600.0  # guess: far above what it takes to read a dataset into memory


class Cached(NamedTuple):
    """An entry of a cache."""

    path: Path
    files: int
    bytes: int
    used_at: float  # when it was last asked for, unix seconds


def cached(cache: Path) -> list[Cached]:
    """The whole entries of a cache, the longest unused first."""
    found = []
    for path in cache.glob("[!.]*"):
        with suppress(OSError, ValueError, TypeError, AttributeError):  # damaged: made anew
            index = path / INDEX
            sizes = [size for size, _ in json.loads(index.read_bytes()).values()]
            found.append(Cached(path, len(sizes), sum(sizes), index.stat().st_mtime))
    return sorted(found, key=lambda one: (one.used_at, one.path))


def trim(cache: Path, most_bytes: float, recent_s: float = RECENT_S) -> list[Cached]:
    """Takes entries away, the longest unused first, until the rest fits; returns them."""
    entries = cached(cache)
    size, gone = sum(one.bytes for one in entries), []
    for one in entries:
        if size <= most_bytes:
            break
        if evict(one.path, recent_s):
            gone.append(one)
            size -= one.bytes
    return gone


def evict(entry: Path, recent_s: float = RECENT_S) -> bool:
    """Takes an entry away; False: it is in use, or gone."""
    with _locked(entry, fcntl.LOCK_EX | fcntl.LOCK_NB) as used_at:
        if used_at is None or time.time() - used_at < recent_s:
            return False
        # Renamed first: whoever looks for it finds all of it, or nothing.
        aside = Path(tempfile.mkdtemp(prefix=".evicted-", dir=entry.parent))
        try:
            os.rename(entry, aside / "entry")
        except OSError:
            return False
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return True


def is_idle(entry: Path, recent_s: float = RECENT_S) -> bool:
    """Whether `evict` would take it away now."""
    with _locked(entry, fcntl.LOCK_EX | fcntl.LOCK_NB) as used_at:
        return used_at is not None and time.time() - used_at >= recent_s


@contextmanager
def kept(entry: Path) -> Iterator[bool]:
    """Nobody evicts the entry during the block; False: it is not there. Says that it is used."""
    with _locked(entry, fcntl.LOCK_SH) as used_at:
        if used_at is not None:
            with suppress(OSError):  # another user's: it was asked for all the same
                os.utime(entry / INDEX)
        yield used_at is not None


@contextmanager
def _locked(entry: Path, how: int) -> Iterator[float | None]:
    """When it was last used; None: it is gone, or locked by others."""
    try:
        file = (entry / INDEX).open("rb")
    except OSError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, how)
            mine, now = os.fstat(file.fileno()), (entry / INDEX).stat()
        except OSError:
            yield None
            return
        # Another one may stand there by now: this lock is then one of what was taken away.
        yield mine.st_mtime if mine.st_ino == now.st_ino else None
