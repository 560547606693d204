"""The right to write a job's log: held by one process at a time, and renewed while it lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from automata_svc.errors import LeaseLost, Unavailable

if TYPE_CHECKING:
    from automata_svc.database.store import Database

LEASE_S = 30.0
RENEW_S = 5.0
MARGIN_S = 4.0  # before the end of a lease, in which its holder must be gone


@dataclass
class Lease:
    """A job's lease; a thread renews it until it is released or lost.

    Args:
        on_lost: called once, from the thread, when the lease is lost or about to run out because
            the database is away.
    """

    database: Database
    job: str
    token: int
    on_lost: Callable[[], None] = lambda: None
    slots: int | None = None  # granted by a service's controller, as last read; None: all
    lost: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _renewed: float = field(default_factory=time.monotonic)

    @classmethod
    def take(
        cls, database: Database, job: str, on_lost: Callable[[], None] = lambda: None
    ) -> Lease:
        """Takes the lease and begins to renew it.

        Raises:
            NotFound: no such job.
            Conflict: somebody else holds it.
        """
        from automata_svc.database import this_process

        before = time.monotonic()
        token = database.take_lease(job, this_process(), LEASE_S)
        lease = cls(database, job, token, on_lost, _renewed=before)
        threading.Thread(target=lease._keep, name="automata-lease", daemon=True).start()
        return lease

    @property
    def left_s(self) -> float:
        """Seconds that the lease still holds for sure, its margin taken off."""
        return max(0.0, self._renewed + LEASE_S - MARGIN_S - time.monotonic())

    def release(self) -> None:
        """Gives it back; where that cannot be said now, it runs out by itself."""
        self._stopped.set()
        if not self.lost.is_set():
            with suppress(LeaseLost, Unavailable):
                self.database.release(self.job, self.token)

    def _keep(self) -> None:
        while not self._stopped.wait(RENEW_S if self.left_s > RENEW_S else 0.5):
            before = time.monotonic()
            try:
                self.database.renew(self.job, self.token, LEASE_S)
                self._renewed = before
                self.slots = self.database.get_head(self.job).slots
            except LeaseLost:
                self._lose()
                return
            except Unavailable:  # the next renewal may come through
                if self.left_s <= 0:
                    self._lose()
                    return

    def _lose(self) -> None:
        self.lost.set()
        self.on_lost()


@contextmanager
def held(
    database: Database, job: str, on_lost: Callable[[], None] = lambda: None
) -> Iterator[Lease]:
    """A job's lease for the length of a block.

    Raises:
        NotFound, Conflict: as `Lease.take`.
    """
    lease = Lease.take(database, job, on_lost)
    try:
        yield lease
    finally:
        lease.release()
