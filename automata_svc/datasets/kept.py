"""What was read from files, kept as long as the files stay the same ones."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

Identity = tuple[tuple[int, int, int, int], ...]


class Kept(Generic[T]):
    """Results by files, the last `size` that were asked for; safe from any thread.

    A file counts as the same while device, inode, size and time of change are: what tools such as
    make and git go by, too. What is kept must be frozen: everybody gets the same object.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, tuple[Identity, T]] = OrderedDict()

    def get(self, key: Hashable, files: Sequence[Path], read: Callable[[], T]) -> T:
        """What `read` gives, from an earlier time if none of the files has changed since.

        Args:
            key: what is asked of the files, and how.

        Raises:
            Whatever `read` raises; that is not kept.
        """
        before = identity(files)
        with self._lock:
            kept = self._found.get(key)
            if kept is not None and before and kept[0] == before:
                self._found.move_to_end(key)
                return kept[1]
        made = read()
        if before and identity(files) == before:  # else it was written to in the meantime
            with self._lock:
                self._found[key] = (before, made)
                self._found.move_to_end(key)
                while len(self._found) > self._size:
                    self._found.popitem(last=False)
        return made


def identity(files: Sequence[Path]) -> Identity:
    """Which files these are, as they are now; () where one is not there."""
    try:
        found = [os.stat(file) for file in files]
    except OSError:
        return ()
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found)
