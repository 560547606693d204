"""The driver: one process that owns a running job, from its lease to its last event."""

from __future__ import annotations

import contextlib
import json
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from automata_svc import __version__
from automata_svc.errors import AutomataError, Conflict, LeaseLost, Unavailable, UnknownName
from automata_svc.jobs.protocol import Watcher
from automata_svc.jobs.summary import summary_of
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Asked, DriverStart, SubsetBuilt, Ticked
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JOB_ENDS, JobState

if TYPE_CHECKING:
    from automata_svc.database.store import Database
    from automata_svc.jobs.local import LocalService

LEASE_S = 30.0
RENEW_S = 5.0
APPEND_PATIENCE_S = 8.0  # guess: longer than a busy moment, well within the lease
POLL_S = 0.9  # promise: a user command acts within a second


@dataclass
class Lease:
    """The right to write a job's log, renewed by a thread while the driver lives."""

    database: Database
    job: str
    token: int
    lost: threading.Event
    stopped: threading.Event

    def start(self) -> None:
        threading.Thread(target=self._renew, name="automata-lease", daemon=True).start()

    def _renew(self) -> None:
        while not self.stopped.wait(RENEW_S):
            try:
                self.database.renew(self.job, self.token, LEASE_S)
            except LeaseLost:
                self.lost.set()
                return
            except Unavailable:
                continue  # the next renewal may come through; if none does, the lease runs out

    def release(self) -> None:
        self.stopped.set()
        if not self.lost.is_set():
            self.database.release(self.job, self.token)


@dataclass
class DatabaseLog:
    """An engine's EventLog over the database, fenced by the lease's token."""

    database: Database
    job: str
    token: int
    state: Callable[[], JobState] | None = None  # for the projection written with the events
    command: int | None = None  # the user command that the next events carry out

    def load(self) -> Iterable[tuple[int, float, str, str]]:
        return ((s.seq, s.at, s.kind, s.body) for s in self.database.events(self.job))

    def append(self, first_seq: int, at: float, events: Sequence[tuple[str, str]]) -> None:
        state = self.state() if self.state is not None else None
        summary = None if state is None or not _worth_a_summary(events) else summary_of(state)
        store = partial(
            self.database.append,
            self.job,
            self.token,
            events,
            at,
            state=None if state is None else state.state,
            summary=None if summary is None else json.dumps(summary),
            commands=() if self.command is None else (self.command,),
        )
        first = patiently(store, APPEND_PATIENCE_S)
        if first != first_seq:
            raise LeaseLost(
                f"{self.job}: event {first_seq} was to be written, the log is at {first}"
            )


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


def versions() -> dict[str, str]:
    found = {"automata": __version__, "python": platform.python_version()}
    for package in ("ray", "optuna", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def drive(
    service: LocalService, job: str, watch: Watcher | None = None, runner: str = "ray"
) -> JobState:
    """Takes the job's lease and runs it to its end, a pause, or an interrupt.

    Raises:
        Conflict: the job is over, or another live driver has it.
        KeyboardInterrupt: after the job was left PAUSED, resumable.
        AutomataError: what is none of the trials' fault (a full disk); left PAUSED as well, if that
            can still be stored.
    """
    from automata_svc.jobs.workplace import WORKPLACES

    if runner not in WORKPLACES:
        raise UnknownName("runner", runner, WORKPLACES)
    database = service.database
    record = database.get_job(job)
    if record.state in JOB_ENDS:
        raise Conflict(f"{job} is already finished: {record.state}")
    lease = _lease(database, job)
    plan = SearchPlan.from_json(json.loads(record.plan))
    workplace = None
    try:
        _forget_old_pauses(database, job, lease.token)
        # Ray starts while datasets load and the log is read.
        workplace = WORKPLACES[runner](service, plan, record)
        log = DatabaseLog(database, job, lease.token)
        engine = Engine(
            plan,
            log,
            time.time,
            on_events=watch,
            drop_blobs=lambda keys: _drop(service, keys),
        )
        log.state = lambda: engine.state
        poll = Poll(lease, engine, log)
        try:
            sha256 = json.loads(record.template)["sha256"]
            engine.handle(DriverStart(versions(), sha256, workplace.slots, runner))
            _sweep(service, job, engine)
            if engine.state.subset is None:
                engine.handle(SubsetBuilt(*workplace.build_subset()))
            workplace.run(engine, poll)
        except KeyboardInterrupt:
            _leave_paused(engine, "pause", "interrupted")
            raise
        except AutomataError as error:
            _leave_paused(engine, "halt", str(error).splitlines()[0])
            raise
        _sweep(service, job, engine)
        return engine.state
    finally:
        if workplace is not None:
            workplace.close()
        lease.release()


def _leave_paused(engine: Engine, verb: str, reason: str) -> None:
    """Puts on record why nobody drives the job now, where the log still takes it."""
    if not engine.finished:
        with contextlib.suppress(AutomataError):
            engine.handle(Asked(verb, reason))


def command_without_driver(service: LocalService, job: str, verb: str, reason: str) -> bool:
    """Carries a command out at once if nobody drives the job; False if somebody does."""
    database = service.database
    record = database.get_job(job)
    try:
        lease = _lease(database, job)
    except Conflict:
        return False
    try:
        plan = SearchPlan.from_json(json.loads(record.plan))
        log = DatabaseLog(database, job, lease.token)
        engine = Engine(plan, log, time.time, drop_blobs=lambda keys: _drop(service, keys))
        log.state = lambda: engine.state
        engine.handle(Asked(verb, reason))
        _sweep(service, job, engine)
    finally:
        lease.release()
    return True


def _forget_old_pauses(database: Database, job: str, token: int) -> None:
    """A pause meant the driver before this one; a stop means the job, whoever drives it."""
    old = [c.id for c in database.waiting_commands(job) if c.verb == "pause"]
    if old:
        database.append(job, token, (), time.time(), commands=old)


class Poll:
    """What a driver looks at about once a second: its lease, user commands, the clock."""

    def __init__(self, lease: Lease, engine: Engine, log: DatabaseLog) -> None:
        self._lease, self._engine, self._log = lease, engine, log
        self._last = time.monotonic()

    def __call__(self) -> None:
        if self._lease.lost.is_set():
            raise LeaseLost(f"{self._lease.job}: another driver took it over")
        now = time.monotonic()
        passed = now - self._last
        if passed < POLL_S:
            return
        self._last = now
        if self._engine.plan.wall_clock_s is not None:
            self._engine.handle(Ticked(passed))
        for command in self._log.database.waiting_commands(self._lease.job):
            # Marked as taken in the transaction that stores what it led to.
            self._log.command = command.id
            try:
                reason = json.loads(command.body or "{}").get("reason", "")
                self._engine.handle(Asked(command.verb, reason))
            finally:
                self._log.command = None


def _lease(database: Database, job: str) -> Lease:
    from automata_svc.database import this_process

    token = database.take_lease(job, this_process(), LEASE_S)
    lease = Lease(database, job, token, threading.Event(), threading.Event())
    lease.start()
    return lease


def _drop(service: LocalService, keys: Sequence[str]) -> None:
    for key in keys:
        service.store.delete(key)


def _sweep(service: LocalService, job: str, engine: Engine) -> None:
    """Deletes checkpoints of the job that nothing refers to: what a killed driver left behind."""
    kept = engine.referenced_blobs()
    for key in service.store.keys(f"checkpoints/{job}"):
        if key not in kept:
            service.store.delete(key)
