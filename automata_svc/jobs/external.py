"""Ask and tell: the service's side of trials that are trained elsewhere.

There is no driver. Each request takes the job's lease for a moment, brings the state up to the log,
decides, appends and gives the lease back, so that any number of API processes may serve one job:
what one of them has not stored, nobody was answered. Between requests a process keeps the state it
has, and reads only what others wrote since.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from automata_svc import __version__
from automata_svc.errors import Conflict, LeaseLost, Unavailable
from automata_svc.jobs import asking, telling
from automata_svc.jobs.changing import most_at_a_time
from automata_svc.jobs.drive import versions
from automata_svc.jobs.joblog import DatabaseLog
from automata_svc.spec.wire.asks import AskAnswer, AskRequest, TellAnswer, TellRequest
from automata_svc.tuning.engine import Engine, Faults
from automata_svc.tuning.events import decode
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.inputs import (
    Asked,
    Claimed,
    DriverStart,
    Input,
    SegmentFailed,
    SlotsSet,
    SubsetBuilt,
)
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState

if TYPE_CHECKING:
    from automata_svc.database.store import Database

RUNNER = "external"
LEASE_S = 10.0  # guess: a request holds it for milliseconds; a process that dies, for so long
PATIENCE_S = 4.0  # guess: how long a request waits for others on the same job
SOON_S, AGAIN_S = 0.2, 2.0  # guess: how often somebody who waits looks again, at first and later
DESKS = 64  # guess: jobs whose state a process keeps

T = TypeVar("T")


@dataclass
class _Desk:
    """One job in this process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    engine: Engine | None = None
    log: DatabaseLog | None = None
    most: int | None = None  # segments that may run at a time
    revision: int | None = None  # of the job's row that `most` was read at


class External:
    """Serves clients of every external job of a database. Safe from any thread."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._faults = faults
        self._guard = threading.Lock()
        self._desks: OrderedDict[str, _Desk] = OrderedDict()

    # ---- the two verbs --------------------------------------------------------------------------

    def ask(self, job: str, client_id: str, count: int = 1) -> AskAnswer:
        """Trials for this client: those it has, else new ones; or why there are none.

        Raises:
            NotFound: no such job.
            Conflict: the job trains its trials itself.
            Unavailable: the job is busy with others, or the database is away; ask again.
        """
        job_id = self._job(job)
        with self._desk(job_id) as desk:
            engine, most = self._current(job_id, desk), self._most(job_id, desk)
            found = self._found(job_id, engine, client_id, count, most)
            if found is not None:
                return found
            return self._with_lease(
                job_id, desk, lambda engine: self._serve(engine, client_id, count, most)
            )

    def ask_patiently(self, job: str, request: AskRequest) -> AskAnswer:
        """As `ask`, again and again until there is something to train or `wait_s` is over."""
        pauses = waits(request.wait_s)
        while True:
            found = self.ask(job, request.client_id, request.count)
            pause = next(pauses, None)
            if found.wait is None or pause is None:
                return found
            time.sleep(pause)

    def tell(self, job: str, trial: int, said: TellRequest) -> TellAnswer:
        """Takes a report, and says what to do now.

        Raises:
            NotFound: no such job, trial or segment.
            Conflict: another client's segment, out of order, or not what was told before.
            SpecError: the share is beyond the segment, or the value that is due is missing.
            Unavailable: as for `ask`; telling the same again is safe.
        """
        job_id = self._job(job)
        with self._desk(job_id) as desk:
            found = telling.examine(self._current(job_id, desk).state, trial, said)
            if isinstance(found, TellAnswer):
                return found
            return self._with_lease(job_id, desk, lambda engine: self._take(engine, trial, said))

    def command(self, job: str, verb: str, reason: str) -> None:
        """Stops, pauses or resumes a job at once: it has no driver that would see to it.

        Raises:
            Unavailable: as for `ask`.
        """
        job_id = self._job(job)
        with self._desk(job_id) as desk:
            self._with_lease(job_id, desk, lambda engine: self._command(engine, verb, reason))

    def resume(self, job: str) -> None:
        """Lets a paused job go on; what its clients hold stays theirs. Any other is left alone.

        Raises:
            Conflict: it is over.
        """
        job_id = self._job(job)
        with self._desk(job_id) as desk:
            self._with_lease(job_id, desk, self._resume)

    # ---- asking ---------------------------------------------------------------------------------

    def _found(
        self, job_id: str, engine: Engine, client: str, count: int, most: int | None
    ) -> AskAnswer | None:
        """The answer, where nothing has to be written for it."""
        state, now = engine.state, self._clock()
        if state.is_over:
            return asking.answer(state, (), most)
        if self._database.waiting_commands(job_id):
            return None
        mine = asking.held(state, client)[:count]
        if state.state != "PAUSED":
            if not self._is_started(state) or asking.unseen(state, mine, now):
                return None
            if len(mine) < count and self._more(engine, client, now, most):
                return None
        return asking.answer(state, mine, most)

    def _more(self, engine: Engine, client: str, now: float, most: int | None) -> bool:
        state = engine.state
        return (
            state.unclaimed() is not None
            or bool(asking.silent(state, client, now))
            or (asking.may_grow(state, most) and engine.could_start())
        )

    def _serve(self, engine: Engine, client: str, count: int, most: int | None) -> AskAnswer:
        state = engine.state
        if not engine.finished and not self._is_started(state):
            # The first segment goes to who asks first, in the transaction that starts the job.
            first = () if asking.held(state, client) else (Claimed(client),)
            self._handle(engine, *_start(state), *first)
        mine = asking.held(state, client)
        for number in asking.unseen(state, mine, self._clock()):
            self._handle(engine, Claimed(client, number))
        if len(mine) < count:
            self._give_up_the_silent(engine, client)
        while len(mine) < count and not engine.finished:
            if state.unclaimed() is not None:
                self._handle(engine, Claimed(client))
            elif asking.may_grow(state, most) and engine.could_start():
                slots = max(state.slots, len(state.open)) + 1
                self._handle(engine, SlotsSet(slots), Claimed(client))
            before, mine = mine, asking.held(state, client)
            if len(mine) == len(before):
                break
        return asking.answer(state, asking.held(state, client)[:count], most)

    def _give_up_the_silent(self, engine: Engine, client: str) -> None:
        state, now = engine.state, self._clock()
        for number in asking.silent(state, client, now):
            opened = state.open.get(number)
            if opened is None:
                continue
            detail = (
                f"client {opened.client} said nothing for {now - opened.seen:.0f} s "
                f"(timeout {asking.timeout(state):g} s)"
            )
            # Its slot goes with it: whoever asks next brings one along.
            self._handle(
                engine,
                SlotsSet(max(1, state.slots - 1)),
                SegmentFailed(number, opened.number, telling.CLIENT_LOST, detail, retry=True),
            )

    # ---- telling and resuming -------------------------------------------------------------------

    def _take(self, engine: Engine, trial: int, said: TellRequest) -> TellAnswer:
        found = telling.examine(engine.state, trial, said)
        if isinstance(found, TellAnswer):
            return found
        is_new = not engine.finished and not self._is_started(engine.state)
        self._handle(engine, *(_start(engine.state) if is_new else ()), found)
        return telling.answer_to(engine.state, trial, said)

    def _command(self, engine: Engine, verb: str, reason: str) -> None:
        if verb == "resume":
            self._resume(engine)
        else:
            self._handle(engine, Asked(verb, reason))

    def _resume(self, engine: Engine) -> None:
        if engine.state.is_over:
            raise Conflict(f"{engine.plan.job} is already finished: {engine.state.state}")
        if engine.state.state == "PAUSED":
            self._handle(engine, *_start(engine.state))

    def _is_started(self, state: JobState) -> bool:
        """Whether trials are given out, by this very version."""
        ours = bool(state.drivers) and state.drivers[-1].versions.get("automata") == __version__
        return ours and state.state == "RUNNING" and state.subset is not None

    def _handle(self, engine: Engine, *inputs: Input) -> None:
        engine.handle(*inputs)
        engine.take_orders()  # what was started stands in the state, and is given out from there

    # ---- the job --------------------------------------------------------------------------------

    def _job(self, job: str) -> str:
        """The id of an external job.

        Raises:
            NotFound, SpecError: as the database does.
            Conflict: it is not external.
        """
        if job in self._desks:
            return job
        record = self._database.get_job(job)
        if not SearchPlan.from_json(json.loads(record.plan)).is_external:
            raise Conflict(
                f"{record.id} trains its trials itself; ask and tell are for jobs with "
                "spec.trial.external"
            )
        return record.id

    @contextmanager
    def _desk(self, job_id: str) -> Iterator[_Desk]:
        """This process's place for a job, one request at a time."""
        with self._guard:
            desk = self._desks.setdefault(job_id, _Desk())
            self._desks.move_to_end(job_id)
            idle = [key for key, one in self._desks.items() if not one.lock.locked()]
            for key in idle[: max(0, len(self._desks) - DESKS)]:
                if key != job_id:
                    del self._desks[key]
        if not desk.lock.acquire(timeout=PATIENCE_S):
            raise Unavailable(_busy(job_id))
        try:
            yield desk
        finally:
            desk.lock.release()

    def _current(self, job_id: str, desk: _Desk) -> Engine:
        """The state as the log has it now."""
        engine = desk.engine
        if engine is not None:
            try:
                for row in self._database.events(job_id, after=engine.state.seq):
                    evolve(engine.state, row.seq, row.at, decode(row.kind, row.body))
                return engine
            except BaseException:
                desk.engine = None
                raise
        plan = SearchPlan.from_json(json.loads(self._database.get_job(job_id).plan))
        log = DatabaseLog(self._database, job_id, token=-1, patience_s=lambda: PATIENCE_S)
        engine = Engine(plan, log, self._clock, faults=self._faults)
        log.state = lambda: engine.state
        desk.engine, desk.log = engine, log
        return engine

    def _most(self, job_id: str, desk: _Desk) -> int | None:
        """Segments that may run at a time, as the job's row has it now; None: any number."""
        if self._database.get_head(job_id).revision != desk.revision:
            record = self._database.get_job(job_id)
            desk.most, desk.revision = most_at_a_time(record), record.revision
        return desk.most

    def _with_lease(self, job_id: str, desk: _Desk, act: Callable[[Engine], T]) -> T:
        """Acts with the lease, up to date, and with the commands that waited carried out."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            token = self._lease(job_id, deadline)
            try:
                engine = self._current(job_id, desk)
                if desk.log is not None:
                    desk.log.token = token
                    self._carry_out_commands(engine, desk.log)
                return act(engine)
            except LeaseLost:  # it took longer than a lease lasts; nothing was written
                if time.monotonic() > deadline:
                    raise Unavailable(_busy(job_id)) from None
            finally:
                if desk.engine is not None and desk.engine.broken:
                    desk.engine = desk.log = None
                # Else it runs out by itself.
                with contextlib.suppress(LeaseLost, Unavailable):
                    self._database.release(job_id, token)

    def _lease(self, job_id: str, deadline: float) -> int:
        from automata_svc.database import this_process

        pause = 0.002
        while True:
            try:
                return self._database.take_lease(job_id, this_process(), LEASE_S)
            except Conflict:
                if time.monotonic() + pause > deadline:
                    raise Unavailable(_busy(job_id)) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _carry_out_commands(self, engine: Engine, log: DatabaseLog) -> None:
        for command in self._database.waiting_commands(log.job):
            reason = json.loads(command.body or "{}").get("reason", "")
            log.command = command.id
            try:
                self._command(engine, command.verb, reason)
            finally:
                log.command = None


def waits(wait_s: float) -> Iterator[float]:
    """Seconds to sleep between looks, longer from one to the next, until `wait_s` have passed."""
    deadline, pause = time.monotonic() + wait_s, SOON_S
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(1.5 * pause, AGAIN_S)


def _start(state: JobState) -> tuple[Input, ...]:
    """What starts a job that no process of ours runs, or goes on with it."""
    started = DriverStart(versions(), "", max(1, state.slots), RUNNER)
    return (started,) if state.subset is not None else (started, SubsetBuilt(None, False, 0.0))


def _busy(job_id: str) -> str:
    return f"{job_id} is busy with other clients; ask again"
