"""Threads that take turns, one blob operation at a time, in an order that a test draws.

Each actor stops before every operation on its store until the stage lets it do that one. An actor
that is killed does nothing any more, as a process after kill -9: not even what stands in `finally`.
Beside them stand a clock for leases, which only the test moves, and the ages of what is stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from automata_svc.blobs import BlobStore, Entry, open_store

PATIENCE_S = 30.0  # of the test for one operation; a sign of a bug, not a measure


class Killed(BaseException):
    """This actor is no more."""


class Actor:
    """One process, as far as a blob store sees it."""

    def __init__(self, stage: Stage, kind: str, work: Callable[[Actor], None]) -> None:
        self.kind, self._work, self._stage = kind, work, stage
        self.at = "start"  # the operation it is about to do
        self.killed = self.done = False
        self.error: BaseException | None = None
        self._go, self._parked = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def advance(self) -> None:
        """Lets it do one operation and everything up to the next."""
        self._go.release()
        assert self._parked.acquire(timeout=PATIENCE_S), f"{self.kind} hangs at {self.at}"
        if self.error is not None:
            raise self.error

    def kill(self) -> None:
        self.killed = True
        self._go.release()
        self._thread.join(PATIENCE_S)

    def stop_before(self, operation: str) -> None:
        """Called by the actor itself: waits for its turn."""
        if threading.current_thread() is not self._thread:
            return  # a lease's heartbeat
        if self.killed:
            raise Killed
        self.at = operation
        self._parked.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.killed:
                self._work(self)
        except Killed:
            return
        except BaseException as error:
            self.error = error
        self.done = True
        self._parked.release()


class Stage:
    """The actors, what they share, and time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = open_store(folder.as_uri())  # the test's own, which nobody waits for
        self.actors: list[Actor] = []
        self.now = 1_000_000.0  # on the clock of leases

    def clock(self) -> float:
        return self.now

    def start(self, kind: str, work: Callable[[Actor], None]) -> Actor:
        actor = Actor(self, kind, work)
        self.actors.append(actor)
        return actor

    def live(self, kind: str = "") -> list[Actor]:
        return [a for a in self.actors if not a.done and not a.killed and kind in ("", a.kind)]

    def age(self, seconds: float) -> None:
        """Everything that is stored gets older."""
        for path in self.folder.rglob("*"):
            if path.is_file():
                at = path.stat().st_mtime - seconds
                os.utime(path, (at, at))

    def store_of(self, actor: Actor) -> SteppedStore:
        return SteppedStore(self.store, actor)


class SteppedStore(BlobStore):
    """A store whose every operation is one step of its actor."""

    def __init__(self, real: BlobStore, actor: Actor) -> None:
        super().__init__(real.url, real._store, real._settle)
        self._actor = actor

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self._actor.stop_before(f"put {key}")
        return super().put(key, data, if_absent=if_absent)

    def get(self, key: str) -> bytes:
        self._actor.stop_before(f"get {key}")
        return super().get(key)

    def size(self, key: str) -> int:
        self._actor.stop_before(f"size {key}")
        return super().size(key)

    def delete(self, key: str) -> None:
        self._actor.stop_before(f"delete {key}")
        super().delete(key)

    def entries(self, prefix: str = "") -> list[Entry]:
        self._actor.stop_before(f"list {prefix}")
        return super().entries(prefix)
