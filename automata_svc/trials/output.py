"""What a template prints, kept in a file of its trial instead of mixed into somebody's output."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from automata_svc.trials.types import Reply, Report

Send = Callable[[Report], Reply]


class Quiet(io.TextIOBase):
    """A text stream that makes its file with the first thing written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        self._file.write(text)
        self._file.flush()  # a worker may be killed at any moment
        return len(text)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


@contextlib.contextmanager
def printed_to(path: Path, send: Send) -> Iterator[Send]:
    """Sends stdout and stderr to the end of a file while the block runs; none is made for silence.

    The streams are the process's: one segment at a time runs in it. Yields `send` with the streams
    as they were, since a driver in this process prints its progress inside of it.
    """
    out, err = sys.stdout, sys.stderr

    def outside(report: Report) -> Reply:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return send(report)

    with Quiet(path) as stream:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield outside
