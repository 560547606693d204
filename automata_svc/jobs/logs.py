"""What a job's drivers and trials print: kept in the blob store, so that any machine can read it.

Each driver writes pieces of whole lines, `logs/<job>/<source>/<attempt>-<number>.txt`, the source
being `driver` or `trial-<number>`; in the order of their names they are one text. A command line's
driver writes files into its home instead, which are read as well.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from automata_svc.errors import AutomataError, NotFound

if TYPE_CHECKING:
    from automata_svc.blobs import BlobStore
    from automata_svc.database import StoredJob
    from automata_svc.jobs.local import LocalService

FLUSH_S = 2.0  # how old a line may be before others can read it
PIECE_BYTES = 64_000  # guess: written at once when so much has come together
MOST_BYTES = 4_000_000  # guess: of one source and attempt; the rest is counted, not kept
KEPT_COUNTS = 10_000  # pieces whose number of lines is remembered


class LogLine(NamedTuple):
    """One line; `number` counts from 1 within its source."""

    number: int
    text: str


@dataclass(frozen=True)
class LogPage:
    """Some lines, and what to ask for the ones after them."""

    lines: tuple[LogLine, ...]
    next: int  # the `after` of the next page


def source_of(trial: int | None) -> str:
    return "driver" if trial is None else f"trial-{trial:06d}"


def check_trial(record: StoredJob, trial: int | None) -> None:
    """Whether the job has such a trial, or may come to have it.

    Raises:
        NotFound: it never will.
    """
    most = json.loads(record.plan)["trials"]
    if trial is not None and trial >= most:
        raise NotFound(f"{record.id} has no trial {trial}; its trials are 0 to {most - 1}")


# ---- writing ------------------------------------------------------------------------------------


class _Source:
    """What one source has printed and nobody can read yet."""

    def __init__(self) -> None:
        self.text = ""
        self.pieces = self.written = self.cut = 0


class LogWriter:
    """Takes what is printed, from any thread, and writes it from one of its own.

    Nothing waits for it: where the store is away, lines are kept for a while, then counted.
    """

    def __init__(self, store: BlobStore, job: str, attempt: int, flush_s: float = FLUSH_S) -> None:
        self._store, self._job, self._attempt = store, job, attempt
        self._flush_s = flush_s
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._full = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="automata-logs", daemon=True)
        self._thread.start()

    def write(self, trial: int | None, text: str) -> None:
        """Takes text of a trial, or of the driver itself."""
        with self._lock:
            source = self._sources.setdefault(source_of(trial), _Source())
            if source.written + len(source.text) + len(text) > MOST_BYTES:
                source.cut += len(text)
            else:
                source.text += text
            if len(source.text) >= PIECE_BYTES:
                self._full.set()

    def close(self, wait_s: float = 10.0) -> None:
        """Writes what is left, the last line as it is."""
        self._over = True
        self._full.set()
        self._thread.join(wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._over:
            self._full.wait(self._flush_s)
            self._full.clear()
            self._flush(everything=self._over)
        self._flush(everything=True)

    def _flush(self, everything: bool) -> None:
        with self._writing:  # else two would write the same piece
            self._flush_all(everything)

    def _flush_all(self, everything: bool) -> None:
        with self._lock:
            names = list(self._sources)
        for name in names:
            with self._lock:
                source = self._sources[name]
                whole = len(source.text) if everything else source.text.rfind("\n") + 1
                text = source.text[:whole]
                note = f"… {source.cut:,} more characters were printed\n" * bool(source.cut)
                if everything and note:
                    text = (text + "\n" if text and not text.endswith("\n") else text) + note
                number = source.pieces
            if not text:
                continue
            key = f"logs/{self._job}/{name}/{self._attempt:04d}-{number:06d}.txt"
            try:
                self._store.put(key, text.encode("utf-8", "backslashreplace"))
            except AutomataError:
                continue  # kept, and tried again with what comes after it
            with self._lock:
                source.text = source.text[whole:]
                source.pieces += 1
                source.written += whole


# ---- reading ------------------------------------------------------------------------------------


class Logs:
    """Reads logs page by page; one for a service, safe between threads."""

    def __init__(self, store: BlobStore, home: Path) -> None:
        self._store, self._home = store, home
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self,
        job: str,
        trial: int | None = None,
        after: int = 0,
        limit: int = 1000,
        is_over: bool = False,
    ) -> LogPage:
        """Lines after the `after`-th, at most `limit` of them.

        Args:
            job: its id.
            trial: whose lines; None: those of the job's drivers.
            is_over: the job is: a last line without its end is one as well. Else it waits for
                its end, since what is given once is not given again.
        """
        lines: list[LogLine] = []
        number = 0
        for name, count in self._pieces(job, trial):
            if count is not None and number + count <= after:
                number += count
                continue
            for text in self._lines(name, is_over):
                number += 1
                if number > after and len(lines) < limit:
                    lines.append(LogLine(number, text))
            if len(lines) >= limit:
                break
        return LogPage(tuple(lines), lines[-1].number if lines else after)

    def _pieces(self, job: str, trial: int | None) -> Iterator[tuple[str, int | None]]:
        """Names of what the source has printed, in order, with their lines where they are known."""
        if trial is not None:
            file = self._home / "logs" / job / f"trial-{trial}.txt"
            if file.is_file():
                yield str(file), None
        for key in self._store.keys(f"logs/{job}/{source_of(trial)}"):
            with self._lock:
                count = self._counts.get(key)
            yield key, count

    def _lines(self, name: str, is_over: bool) -> list[str]:
        if name.startswith("/"):
            text = Path(name).read_text(encoding="utf-8", errors="replace")
            return text[: len(text) if is_over else text.rfind("\n") + 1].splitlines()
        try:
            text = self._store.get(name).decode("utf-8", "replace")
        except NotFound:  # deleted with its job
            return []
        lines = text.splitlines()
        with self._lock:
            self._counts[name] = len(lines)
            while len(self._counts) > KEPT_COUNTS:
                self._counts.popitem(last=False)
        return lines


def read(
    service: LocalService,
    job: str,
    trial: int | None = None,
    after: int = 0,
    limit: int = 1000,
    is_over: bool = False,
) -> LogPage:
    """A page of a job's log; see `Logs.read`."""
    return Logs(service.store, service.settings.home).read(job, trial, after, limit, is_over)
