"""Folders that live as long as their process: the next one deletes what a killed one left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

LOCK = ".automata-lock"  # held by the process whose folder it is; the kernel lets go of it


class Scratch:
    """A new folder, this process's until it is closed.

    Args:
        prefix: of its name. Folders with it of dead processes of the same user are deleted first.
        base: where; None: where temporary files go.
    """

    def __init__(self, prefix: str, base: Path | None = None) -> None:
        within = base or Path(tempfile.gettempdir())
        _sweep(prefix, within)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
        self._lock = _locked(self.path)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Deletes it. Once is enough."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _locked(folder: Path) -> int:
    """The lock of a new folder. It gets its name when it is held: before, it would look free."""
    made = folder / f"{LOCK}-new"
    lock = os.open(made, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    made.rename(folder / LOCK)
    return lock


def _sweep(prefix: str, within: Path) -> None:
    for folder in within.glob(f"{prefix}*"):
        with suppress(OSError):  # no lock: not one of ours, or new; held: its process lives
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
