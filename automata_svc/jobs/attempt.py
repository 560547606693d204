"""One attempt of a service to drive a job: what a driver process of its does, from start to end.

A driver that cannot go on says so on the log, where that still takes it, and leaves the job to its
controller, which starts the next attempt. A driver that has lost its lease says nothing and is gone
within seconds, its workers with it.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from automata_svc.errors import AutomataError, Conflict, LeaseLost, Unavailable
from automata_svc.jobs.drive import Open, Session
from automata_svc.jobs.lease import LEASE_S, Lease
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.events import Event, JobState
from automata_svc.tuning.inputs import SlotsSet
from automata_svc.tuning.state import JOB_ENDS

if TYPE_CHECKING:
    from automata_svc.database import StoredJob
    from automata_svc.jobs.local import LocalService
    from automata_svc.tuning.state import JobState as State

RECYCLE_AFTER = 2_000  # trials; guess: what a driver may lose of memory on the way is small by then
DRAIN_S = 60.0  # guess: how long a driver that makes room waits for segments that run
LEAVE_S = 10.0  # guess: a driver without its lease has ended its workers by then
AWAY_PAUSE_S = 1.0

Say = Callable[[str], None]


@dataclass
class Ending:
    """Somebody wants this driver to go: SIGTERM."""

    reason: str = ""
    _asked: threading.Event = field(default_factory=threading.Event)

    def ask(self, reason: str) -> None:
        self.reason = reason
        self._asked.set()

    def __bool__(self) -> bool:
        return self._asked.is_set()


@dataclass(frozen=True)
class Attempt:
    """Which attempt of which job, and where its trials run."""

    job: str
    number: int
    open_workplace: Open
    runner: str = "ray"
    recycle_after: int = RECYCLE_AFTER  # trials that one driver proposes
    lease_s: float = LEASE_S  # how long to wait for the lease of the driver before


def carry_out(service: LocalService, attempt: Attempt, ending: Ending, say: Say) -> int:
    """Drives until the job is over or paused, or this driver is to go; returns its exit code.

    0: it ended as it should, which may be to leave the job to the next attempt. 1: it could not go
    on. 4: another driver has the job.
    """
    try:
        lease = _take(service, attempt, say)
    except AutomataError as error:
        say(str(error))
        return error.exit_code
    try:
        record = _patiently(lambda: service.database.get_job(attempt.job), LEASE_S, say)
        passed = _passed(record, attempt)
        if passed is not None:
            say(passed)
            return 0
        lease.slots = record.slots
        return _drive(service, attempt, record, lease, ending, say)
    except LeaseLost as error:
        say(f"the lease is lost: {error}")
        return LeaseLost.exit_code
    except Unavailable as error:
        say(f"ends: {error}")
        return 1
    finally:
        lease.release()


def _take(service: LocalService, attempt: Attempt, say: Say) -> Lease:
    """The job's lease, also where the driver before has it for some more seconds."""
    deadline = time.monotonic() + attempt.lease_s

    def gone() -> None:
        say("the lease is lost, or the database was away for too long; ends")
        timer = threading.Timer(LEAVE_S, os._exit, (LeaseLost.exit_code,))
        timer.daemon = True
        timer.start()

    while True:
        try:
            return Lease.take(service.database, attempt.job, gone)
        except (Conflict, Unavailable) as error:
            if time.monotonic() > deadline:
                raise Conflict(str(error)) from None
            say(f"waits: {error}")
        time.sleep(AWAY_PAUSE_S)


def _passed(record: StoredJob, attempt: Attempt) -> str | None:
    """Why this attempt is not wanted any more; None: it is."""
    if record.driver != "service":
        return f"{record.id} is not driven by a service"
    if record.attempt != attempt.number:
        return f"attempt {attempt.number} has passed: {record.id} is at attempt {record.attempt}"
    if record.state not in ("STARTING", "RUNNING"):
        return f"{record.id} is {record.state}: nothing to drive"
    return None


def _drive(
    service: LocalService,
    attempt: Attempt,
    record: StoredJob,
    lease: Lease,
    ending: Ending,
    say: Say,
) -> int:
    session: Session | None = None
    try:
        session = Session(service, record, lease, attempt.open_workplace, partial(_tell, say))
        session.log.patience_s = lambda: lease.left_s
        engine = session.engine
        if ending:
            session.ask("recycle", ending.reason)
            return 0
        session.start(attempt.runner)
        say(f"drives with {engine.state.slots} slots from event {engine.state.seq}")
        terms = _Terms(session, attempt.recycle_after, ending)
        session.run(terms)
    except LeaseLost:
        raise
    except AutomataError as error:
        return _could_not(session, str(error), say)
    except Exception as error:
        say(traceback.format_exc())
        return _could_not(session, f"{type(error).__name__}: {error}", say)
    else:
        halted = engine.state.halted
        if halted:
            return _could_not(session, halted, say)
        if not engine.finished:  # nothing runs any more, and nothing was to be started
            terms.make_room()
        session.sweep()
        return 0
    finally:
        if session is not None:
            session.close()


def _could_not(session: Session | None, reason: str, say: Say) -> int:
    said = reason.strip().splitlines()[0] if reason.strip() else "no reason was given"
    say(f"cannot go on: {reason}")
    if session is not None:
        session.ask("requeue", said)
    return 1


class _Terms:
    """When a driver makes room for the next: it is asked to, or has proposed its share."""

    def __init__(self, session: Session, recycle_after: int, ending: Ending) -> None:
        self._session, self._most, self._ending = session, recycle_after, ending
        self._first = len(session.engine.state.trials)
        self._since: float | None = None  # when it began to wait for what runs

    def __call__(self) -> None:
        engine = self._session.engine
        if engine.finished:
            return
        if self._ending:
            self._session.ask("recycle", self._ending.reason)
        elif self._since is None:
            if self._proposed(engine) >= self._most and engine.could_start():
                self._since = time.monotonic()
                self._session.poll.drains = True
                engine.handle(SlotsSet(0))
        elif not engine.state.open or time.monotonic() - self._since > DRAIN_S:
            self.make_room()

    def make_room(self) -> None:
        said = f"{self._proposed(self._session.engine):,} trials from one driver"
        self._session.ask("recycle", said)

    def _proposed(self, engine: Engine) -> int:
        return len(engine.state.trials) - self._first


def _tell(say: Say, state: State, events: Sequence[Event]) -> None:
    for event in events:
        if isinstance(event, JobState):
            say(f"{event.state}: {event.reason}")
            if event.state in JOB_ENDS:
                say(f"{len(state.trials)} trials, price {state.price:.2f}")


def _patiently(ask: Callable[[], StoredJob], for_s: float, say: Say) -> StoredJob:
    deadline = time.monotonic() + for_s
    while True:
        try:
            return ask()
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            say(f"waits: {error}")
        time.sleep(AWAY_PAUSE_S)
