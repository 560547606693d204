"""States of jobs that are asked about, kept and brought up to date by what is new in their logs.

Rebuilding one from its log takes time in proportion to the log; people who look at a job ask for
its report, its reasons and its rungs again and again. Bounded by the events that the kept states
were made of.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from automata_svc.tuning.events import decode
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState

if TYPE_CHECKING:
    from automata_svc.database.store import Database

MAX_EVENTS = 400_000  # guess: about 200 MB of states
MAX_JOBS = 64  # guess


class _Kept:
    """One job's state, for one thread at a time."""

    def __init__(self, plan: Callable[[], str]) -> None:
        self.lock = threading.Lock()
        self.plan = plan
        self.state: JobState | None = None
        self.weight = 0  # events, as counted when it was last used


class States:
    """Safe from any thread."""

    def __init__(
        self, database: Database, max_events: int = MAX_EVENTS, max_jobs: int = MAX_JOBS
    ) -> None:
        self._database = database
        self._max_events, self._max_jobs = max_events, max_jobs
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    @contextmanager
    def of(self, job: str, plan: Callable[[], str]) -> Iterator[JobState]:
        """The state that a job's log adds up to by now; nobody else changes it inside the block.

        Args:
            job: its id.
            plan: gives the text of its SearchPlan; called where the job is not kept yet.
        """
        with self._guard:
            kept = self._kept.setdefault(job, _Kept(plan))
            self._kept.move_to_end(job)
        with kept.lock:
            try:
                state = self._current(job, kept)
            except BaseException:
                self.forget(job)  # it may have stopped half-way
                raise
            yield state
        self._bound()

    def forget(self, job: str) -> None:
        """Lets go of a job: it was deleted."""
        with self._guard:
            self._kept.pop(job, None)

    def _current(self, job: str, kept: _Kept) -> JobState:
        if kept.state is None:
            kept.state = JobState(SearchPlan.from_json(json.loads(kept.plan())))
        state = kept.state
        for stored in self._database.events(job, after=state.seq):
            evolve(state, stored.seq, stored.at, decode(stored.kind, stored.body))
        kept.weight = state.seq
        return state

    def _bound(self) -> None:
        """Lets the longest unused go; the one that was used last stays, however large."""
        with self._guard:
            total = sum(kept.weight for kept in self._kept.values())
            while len(self._kept) > 1 and (
                total > self._max_events or len(self._kept) > self._max_jobs
            ):
                _, gone = self._kept.popitem(last=False)
                total -= gone.weight
