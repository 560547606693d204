"""How much of the blob store something takes, looked at now and then by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from automata_svc.errors import AutomataError

if TYPE_CHECKING:
    from automata_svc.blobs import BlobStore

EVERY_S = 300.0  # guess: a listing costs a request for each thousand objects


class Stored:
    """Bytes below a folder of the store. Safe from any thread; nobody waits for the store."""

    def __init__(
        self,
        store: Callable[[], BlobStore],
        folder: str,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._folder, self._every_s, self._clock = store, folder, every_s, clock
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._size: int | None = None

    def read(self) -> int | None:
        """As it was when it was last looked at, which this call may begin anew; None: not yet."""
        with self._lock:
            now = self._clock()
            if self._looked_at is None or now - self._looked_at >= self._every_s:
                self._looked_at = now
                threading.Thread(target=self._look, name="automata-stored", daemon=True).start()
            return self._size

    def _look(self) -> None:
        with suppress(AutomataError):  # away: what was known stays, and it is asked again later
            self._size = sum(entry.size for entry in self._store().entries(self._folder))
