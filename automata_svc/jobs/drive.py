"""The driver: one process that owns a running job, from its lease to its last event."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from automata_svc import __version__
from automata_svc.errors import AutomataError, Conflict, LeaseLost, Unavailable, UnknownName
from automata_svc.jobs.joblog import DatabaseLog, patiently
from automata_svc.jobs.lease import Lease, held
from automata_svc.jobs.protocol import Watcher
from automata_svc.jobs.verbs import is_done
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Asked, DriverStart, SlotsSet, SubsetBuilt, Ticked
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState

if TYPE_CHECKING:
    from automata_svc.database import StoredCommand, StoredJob
    from automata_svc.database.store import Database
    from automata_svc.jobs.local import LocalService
    from automata_svc.jobs.workplace import Workplace

POLL_S = 0.9  # promise: a user command acts within a second

Open = Callable[["LocalService", SearchPlan, "StoredJob"], "Workplace"]


def versions() -> dict[str, str]:
    found = {"automata": __version__, "python": platform.python_version()}
    for package in ("ray", "optuna", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


class Session:
    """One drive of a job under a lease: its engine, its log, and where its trials run.

    Made at the start, closed at the end; between the two, `start` and `run` once each.
    """

    def __init__(
        self,
        service: LocalService,
        record: StoredJob,
        lease: Lease,
        open_workplace: Open,
        watch: Watcher | None = None,
    ) -> None:
        self._service = service
        self._record = record
        plan = SearchPlan.from_json(json.loads(record.plan))
        # Ray starts while datasets load and the log is read.
        self._workplace = open_workplace(service, plan, record)
        try:
            self.log = DatabaseLog(service.database, record.id, lease.token)
            self.engine = Engine(
                plan,
                self.log,
                time.time,
                on_events=watch,
                drop_blobs=lambda keys: _drop(service, keys),
            )
            self.log.state = lambda: self.engine.state
            self.poll = Poll(lease, self.engine, self.log)
        except BaseException:
            self._workplace.close()
            raise

    def start(self, runner: str) -> None:
        """Says on the log that this driver has taken over, and readies the subset."""
        engine, room = self.engine, self._workplace.slots
        granted = self.poll.granted(room)
        sha256 = json.loads(self._record.template)["sha256"]
        engine.handle(DriverStart(versions(), sha256, granted, runner))
        _sweep(self._service, self._record.id, engine)
        if engine.state.subset is None:
            engine.handle(SubsetBuilt(*self._workplace.build_subset()))

    def run(self, also: Callable[[], None] = lambda: None) -> None:
        """Until the engine orders nothing more; then nothing of it runs on.

        Args:
            also: called after each look at lease, slots and commands.
        """

        def poll() -> None:
            self.poll()
            also()

        self._workplace.run(self.engine, poll)

    def sweep(self) -> None:
        _sweep(self._service, self._record.id, self.engine)

    def ask(self, verb: str, reason: str) -> None:
        """Puts on record why nobody drives the job now, where the log still takes it."""
        state = self.engine.state
        if not self.engine.broken and not state.is_over:
            with contextlib.suppress(AutomataError):
                self.engine.handle(Asked(verb, reason))

    def close(self) -> None:
        self._workplace.close()


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
    is_done("resume", record.id, record.state)
    try:
        with held(database, job) as lease:
            _forget_old_pauses(database, job, lease.token)
            session = Session(service, record, lease, WORKPLACES[runner], watch)
            try:
                session.start(runner)
                session.run()
            except KeyboardInterrupt:
                session.ask("pause", "interrupted")
                raise
            except AutomataError as error:
                session.ask("halt", str(error).splitlines()[0])
                raise
            finally:
                session.close()
            session.sweep()
            return session.engine.state
    except KeyboardInterrupt:
        # Met between deciding and storing, that engine is of no use: a new look at the log says it.
        if database.get_head(job).state in ("STARTING", "RUNNING"):
            command_without_driver(service, job, "pause", "interrupted")
        raise
    finally:
        with contextlib.suppress(AutomataError):  # what was asked when it looked no more
            carry_out_waiting(service, job)


def command_without_driver(service: LocalService, job: str, verb: str, reason: str) -> bool:
    """Carries a command out at once if nobody drives the job; False if somebody does."""
    if not _without_driver(service, job, Asked(verb, reason)):
        return False
    carry_out_waiting(service, job)
    return True


def carry_out_waiting(service: LocalService, job: str) -> bool:
    """Carries out the stored commands that wait, in order, if nobody drives the job.

    Whoever stores a command calls it afterwards, and whoever lets go of a lease that was held for a
    command alone, beforehand or not: one of the two finds it, so that none is left lying.

    Returns:
        False: commands wait, and somebody holds the lease.
    """
    while service.database.waiting_commands(job):
        if not _without_driver(service, job):
            return False
    return True


def _without_driver(service: LocalService, job: str, asked: Asked | None = None) -> bool:
    """Under the job's lease: what waits, then what is asked; False: somebody holds it."""
    database = service.database
    record = database.get_job(job)
    try:
        lease = Lease.take(database, job)
    except Conflict:
        return False
    try:
        plan = SearchPlan.from_json(json.loads(record.plan))
        log = DatabaseLog(database, job, lease.token)
        engine = Engine(plan, log, time.time, drop_blobs=lambda keys: _drop(service, keys))
        log.state = lambda: engine.state
        _carry_out(database.waiting_commands(job), engine, log)
        if asked is not None:
            engine.handle(asked)
        _sweep(service, job, engine)
    finally:
        lease.release()
    return True


def _carry_out(commands: Sequence[StoredCommand], engine: Engine, log: DatabaseLog) -> None:
    """Each is marked as taken in the transaction that stores what it led to."""
    for command in commands:
        log.command = command.id
        try:
            if engine.state.is_over:  # it comes too late, and is not to wait for ever
                log.append(engine.state.seq + 1, time.time(), ())
            else:
                reason = json.loads(command.body or "{}").get("reason", "")
                engine.handle(Asked(command.verb, reason))
        finally:
            log.command = None


def _forget_old_pauses(database: Database, job: str, token: int) -> None:
    """A pause meant the driver before this one; a stop means the job, whoever drives it."""
    old = [c.id for c in database.waiting_commands(job) if c.verb in ("pause", "resume")]
    if old:
        database.append(job, token, (), time.time(), commands=old)


class Poll:
    """What a driver looks at about once a second: its lease, slots, user commands, the clock."""

    def __init__(self, lease: Lease, engine: Engine, log: DatabaseLog) -> None:
        self._lease, self._engine, self._log = lease, engine, log
        self._last = time.monotonic()
        self._room: int | None = None  # slots where the trials run, for a job that may have all
        self.drains = False  # the segments that run are the last of this driver

    def granted(self, room: int) -> int:
        """Slots to begin with, of those where the trials run."""
        self._room = room
        return self._wanted() or 0

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
        slots = self._wanted()
        if slots is not None:
            self._engine.handle(SlotsSet(slots))
        try:
            commands = self._log.database.waiting_commands(self._lease.job)
        except Unavailable:
            return  # looked for again in a second; the lease says how long that may go on
        _carry_out(commands, self._engine, self._log)

    def _wanted(self) -> int | None:
        """Slots that this driver is to use now; None: as many as before."""
        if self.drains:
            return 0
        slots = self._lease.slots  # a controller has thought of the job's parallelism
        return self._room if slots is None else slots


def _drop(service: LocalService, keys: Sequence[str]) -> None:
    for key in keys:
        service.store.delete(key)


def _sweep(service: LocalService, job: str, engine: Engine) -> None:
    """Deletes checkpoints of the job that nothing refers to: what a killed driver left behind."""
    kept = engine.referenced_blobs()
    for key in service.store.keys(f"checkpoints/{job}"):
        if key not in kept:
            service.store.delete(key)


__all__ = [
    "DatabaseLog",
    "Session",
    "carry_out_waiting",
    "command_without_driver",
    "drive",
    "patiently",
    "versions",
]
