"""A job's log in the database, with everything that is written in the same transaction as it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from automata_svc.errors import Unavailable
from automata_svc.jobs.projection import trial_rows
from automata_svc.jobs.summary import counts_of, summary_of
from automata_svc.tuning.state import JobState

if TYPE_CHECKING:
    from automata_svc.database import DeliveryRow, Total, TrialRow
    from automata_svc.database.store import Database

APPEND_PATIENCE_S = 8.0  # guess: longer than a busy moment, well within a lease


@dataclass
class DatabaseLog:
    """An engine's EventLog over the database, fenced by a lease's token."""

    database: Database
    job: str
    token: int
    state: Callable[[], JobState] | None = None  # for the projections written with the events
    command: int | None = None  # the user command that the next events carry out
    patience_s: Callable[[], float] = lambda: APPEND_PATIENCE_S  # how long to wait for the database

    def load(self) -> Iterable[tuple[int, float, str, str]]:
        return ((s.seq, s.at, s.kind, s.body) for s in self.database.events(self.job))

    def append(self, first_seq: int, at: float, events: Sequence[tuple[str, str]]) -> None:
        state = self.state() if self.state is not None else None
        summary = stored = None
        if state is not None and _worth_a_summary(events):
            summary = summary_of(state)
            stored = {**summary, "counts": counts_of(state)}
        store = partial(
            self.database.append,
            self.job,
            self.token,
            events,
            at,
            state=None if state is None else state.state,
            summary=None if stored is None else json.dumps(stored),
            commands=() if self.command is None else (self.command,),
            trials=() if state is None else _rows(state, events),
            artefacts=_artefacts(events),
            deliveries=self._deliveries(events, first_seq, at, summary),
            totals=self._totals(events, state, stored),
            first_seq=first_seq,  # so that what was stored unheard is not stored again
        )
        patiently(store, self.patience_s())

    def _deliveries(
        self, events: Sequence[tuple[str, str]], first_seq: int, at: float, summary: object
    ) -> Sequence[DeliveryRow]:
        """Webhooks that are due with these events; a command line's job has none."""
        from automata_svc.jobs.webhooks import deliveries_for, news_of

        if not any(news_of(kind, text) is not None for kind, text in events):
            return ()
        record = self.database.get_job(self.job)  # as it is now: whom to tell may be changed
        if record.driver == "cli":
            return ()
        return deliveries_for(record, events, first_seq, at, summary)

    def _totals(
        self,
        events: Sequence[tuple[str, str]],
        state: JobState | None,
        summary: Mapping[str, Any] | None,
    ) -> Sequence[Total]:
        """With a job's last event: what was counted of it, for good."""
        if state is None or summary is None or not state.is_over:
            return ()
        if not any(kind == "job_state" for kind, _ in events):
            return ()  # it was over before
        from automata_svc.jobs.totals import of_job

        head = self.database.get_head(self.job)
        return of_job(head.project, head.queue, state.state, head.created_at, summary)


def patiently(store: Callable[[], int], patience_s: float) -> int:
    """Tries again while the database is away: nothing may be acted on before it is stored.

    Raises:
        Unavailable: it still is after `patience_s`; the driver must end.
    """
    deadline, pause = time.monotonic() + patience_s, 0.1
    while True:
        try:
            return store()
        except Unavailable:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


def _worth_a_summary(events: Sequence[tuple[str, str]]) -> bool:
    return any(kind != "passes" and kind != "tick" for kind, _ in events)


def _rows(state: JobState, events: Sequence[tuple[str, str]]) -> list[TrialRow]:
    """Of every trial that these events are about."""
    from automata_svc.database.log import trial_of

    touched: set[int] = set()
    for kind, body in events:
        if kind == "driver_started":  # the driver before it left trials running
            touched.update(t.number for t in state.trials if not t.is_over)
        elif (number := trial_of(body)) is not None:
            touched.add(number)
    return trial_rows(state, sorted(touched))


def _artefacts(events: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    keys = (json.loads(body)["artefact"] for kind, body in events if kind == "subset_ready")
    return tuple(key for key in keys if key is not None)
