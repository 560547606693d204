"""The controller: gives queued jobs to drivers, and sees to it that each driven job has one.

Of all the controllers on a database one is at work, under a named lease; the others stand by. It
keeps nothing that it needs: what ought to be stands in the database, what is there Ray says, and a
pass brings the two together (`jobs.reconcile`), each step so that it may be repeated. Who runs on
how many slots is decided by `jobs.admission`. Jobs of a command line are never touched.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from automata_svc.errors import AutomataError, Conflict, LeaseLost, NotFound, Unavailable
from automata_svc.jobs.admission import Allotment, Job, Ledger, Quota, Size, allot
from automata_svc.jobs.changing import most_at_a_time
from automata_svc.jobs.launch import Launcher, Order, Word, driver_id, job_of
from automata_svc.jobs.moves import Faults, faults_in_a_row, move
from automata_svc.jobs.placement import Placement, cluster_of
from automata_svc.jobs.reconcile import NOT_INSTALLED, UNREACHED, Seen, Step, next_step
from automata_svc.jobs.runtime_env import packages_of
from automata_svc.jobs.saying import SaidOnce

if TYPE_CHECKING:
    from automata_svc.database import JobHead
    from automata_svc.jobs.local import LocalService

_log = logging.getLogger("automata.controller")

STEP_S = 1.0
LEASE_NAME, LEASE_S, RENEW_S = "controller", 20.0, 5.0
LOOK_S = 3.0  # between two looks at a driver that holds its lease
NODES_S = 15.0  # between two looks at the cluster's machines
SWEEP_S = 60.0  # between two searches for drivers that nobody wants
IDLE_S = 5.0  # a job that leaves slots unused for so long lends them
MOST_DRIVERS = 20  # guess, after reports of Ray heads that died at 100 jobs (ray#60159)
MOST_FAULTS = 5  # attempts in a row that achieve nothing
PAUSES_S = (1.0, 5.0, 20.0, 60.0)  # before the attempt after the first fault, the second, …

LIVE = ("QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING")


class _Overtaken(Exception):
    """Another controller leads: this one's pass is over."""


class Rays(Protocol):
    """Where drivers may run."""

    def launcher(self) -> Launcher:
        """The way to Ray, as it is now.

        Raises:
            Unavailable: it is not there (yet); says why.
        """
        ...

    def lost(self) -> None:
        """It was given out and does not answer."""
        ...


@dataclass(frozen=True)
class Policy:
    """What an operator may set."""

    quotas: Mapping[str, Quota] = field(default_factory=dict)
    drivers: int = MOST_DRIVERS
    recycle_after: int | None = None  # trials a driver proposes; None: its own default
    most_faults: int = MOST_FAULTS
    pauses_s: Sequence[float] = PAUSES_S


@dataclass
class _Known:
    """What a controller remembers of a job, to ask less; losing it costs nothing."""

    size: Size
    most: int | None
    revision: int  # of the job's row that `most` was read at
    looked_at: float = float("-inf")
    word: Word | None = None
    idle_since: float | None = None  # leaves slots unused
    stopping: Step | None = None  # why its driver is being stopped


@dataclass
class _Ray:
    """The way to Ray during one pass; one that does not answer is not asked again in it."""

    launcher: Launcher | None
    absent: str = ""  # why there is none


class Controller:
    """One of a service; see the module's text.

    Args:
        owner: who takes the lease; None: this process.
        clock: unix seconds.
    """

    def __init__(
        self,
        service: LocalService,
        rays: Rays,
        policy: Policy | None = None,
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
        placement: Placement | None = None,
    ) -> None:
        from automata_svc.database import this_process

        self._service, self._rays = service, rays
        self._placement = placement or Placement()
        self._policy = policy or Policy()
        self._owner = owner or this_process()
        self._clock = clock
        self._token: int | None = None
        self._renewed = self._swept = float("-inf")
        self._passed: float | None = None  # when the last pass was
        self._ledger = Ledger()
        self._known: dict[str, _Known] = {}
        self._closing: set[str] = set()  # jobs that were driven until now

    # ---- its life -------------------------------------------------------------------------------

    def run(self, stop: threading.Event, every_s: float = STEP_S) -> None:
        """Passes until `stop` is set. Nothing that happens ends it: the next pass may do better."""
        said = SaidOnce(_log)
        while not stop.is_set():
            began = time.monotonic()
            try:
                self.step()
                said.works()
            except AutomataError as error:
                said.waits(error)
            except Exception:
                _log.exception("a pass of the controller failed")
            stop.wait(max(0.05, every_s - (time.monotonic() - began)))
        self.release()

    def release(self) -> None:
        """Lets another controller take over at once."""
        if self._token is not None:
            with suppress(AutomataError):
                self._service.database.release_named(LEASE_NAME, self._token)
            self._token = None

    def wind_down(self, within_s: float) -> None:
        """Asks every driver to end, and waits until they have: their jobs stay resumable."""
        deadline = time.monotonic() + within_s
        with suppress(AutomataError):
            launcher = self._rays.launcher()
            for word in launcher.drivers():
                launcher.stop(word.id)
            while time.monotonic() < deadline and launcher.drivers():
                time.sleep(0.2)

    @property
    def leads(self) -> bool:
        """Whether this one is at work, and does not stand by."""
        return self._token is not None

    def step(self) -> None:
        """One pass; none, where another controller leads.

        Raises:
            Unavailable: the database is away.
        """
        if not self._lead():
            self._passed = None
            return
        try:
            self._pass()
        except _Overtaken:
            self._stand_by()

    def _pass(self) -> None:
        database = self._service.database
        heads = database.list_jobs(driver="service", state=LIVE)
        heads += self._just_closed({head.id for head in heads})
        ray = self._ray()
        for head in heads:
            if head.driver_id is not None:
                self._still_lead()
                with suppress(NotFound):
                    self._reconcile(head, ray)
        self._still_lead()
        self._allot(ray)
        self._still_lead()
        self._sweep(ray)

    def _lead(self) -> bool:
        now = time.monotonic()
        database = self._service.database
        if self._token is not None and now - self._renewed < RENEW_S:
            return True
        try:
            if self._token is None:
                self._token = database.take_named(LEASE_NAME, self._owner, LEASE_S)
                _log.info("at work")
            else:
                database.renew_named(LEASE_NAME, self._token, LEASE_S)
            self._renewed = now
        except Conflict:  # LeaseLost, too
            self._stand_by()
        return self._token is not None

    def _stand_by(self) -> None:
        if self._token is not None:
            _log.warning("another controller has taken over; stands by")
        self._token = None

    def _still_lead(self) -> None:
        """A pass takes long where Ray does: meanwhile the lease is renewed, or another has it.

        Raises:
            _Overtaken: it is another's, and what this pass has read may not be so any more.
        """
        if self._token is None or not self._lead():
            raise _Overtaken

    def _write(self, job: str, **values: Any) -> None:
        """Writes of a job what a controller keeps, unless another one has taken over.

        Raises:
            NotFound: no such job.
            _Overtaken: one has.
        """
        if self._token is None:
            raise _Overtaken
        held = (LEASE_NAME, self._token)
        try:
            self._service.database.set_controller_fields(job, held, **values)
        except LeaseLost:
            raise _Overtaken from None

    def _ray(self) -> _Ray:
        try:
            return _Ray(self._rays.launcher())
        except AutomataError as error:
            return _Ray(None, str(error))

    def _lose(self, ray: _Ray, error: Unavailable) -> None:
        """It does not answer; asked for each job, it would take longer than the lease lasts."""
        self._rays.lost()
        ray.launcher, ray.absent = None, str(error)

    def _just_closed(self, live: set[str]) -> list[JobHead]:
        """Jobs that were driven at the last pass and are over now."""
        found = []
        for job in self._closing - live:
            try:
                found.append(self._service.database.get_head(job))
            except NotFound:
                self._closing.discard(job)
        return found

    # ---- jobs that have a driver ----------------------------------------------------------------

    def _reconcile(self, head: JobHead, ray: _Ray) -> None:
        self._closing.add(head.id)
        is_leased = _is_driven(head)
        word, asked = self._word(head, ray, is_leased)
        seen = Seen(
            state=head.state,
            attempt=head.attempt,
            is_leased=is_leased,
            word=word,
            asked_ray=asked,
            idle_s=max(0.0, self._clock() - head.updated_at),
        )
        step = next_step(seen)
        if step is not None:
            self._still_lead()
            with suppress(Conflict):  # somebody holds the lease for a moment: the next pass
                self._carry_out(head, step, word, ray)

    def _word(self, head: JobHead, ray: _Ray, is_leased: bool) -> tuple[Word | None, bool]:
        """Ray's word on a job's driver, and whether it was asked."""
        known = self._of(head)
        now = time.monotonic()
        if ray.launcher is None or head.driver_id is None:
            return None, False
        is_well = is_leased and head.state == "RUNNING"
        if is_well and now - known.looked_at < LOOK_S:
            return known.word, True
        try:
            known.word = ray.launcher.look(head.driver_id)
        except Unavailable as error:
            self._lose(ray, error)
            return None, False
        known.looked_at = now
        return known.word, True

    def _carry_out(self, head: JobHead, step: Step, word: Word | None, ray: _Ray) -> None:
        if step.action == "requeue":
            _log.info("%s: %s", head.id, step.reason)
            self._keep_words(head, word, ray.launcher)
            if move(
                self._service.database,
                head.id,
                "requeue" if step.fault else "recycle",
                step.reason,
            ):
                self._settle(self._service.database.get_head(head.id))
        elif step.action == "settle":
            self._settle(head)
        elif ray.launcher is not None and head.driver_id is not None:
            if step.action == "stop":
                known = self._of(head)
                if known.stopping != step:  # said once, however long it takes to go
                    known.stopping = step
                    _log.warning("%s: stops its driver: %s", head.id, step.reason)
                try:
                    ray.launcher.stop(head.driver_id)
                except Unavailable as error:
                    self._lose(ray, error)
            else:
                self._launch(head, ray)

    def _settle(self, head: JobHead) -> None:
        """A job without a driver: what its next attempt is to wait for, if there is to be one."""
        from automata_svc.jobs.drive import carry_out_waiting

        database = self._service.database
        not_before: float | None = None
        if head.state in ("QUEUED", "PAUSED"):  # what was asked of a driver that was about to go
            if not carry_out_waiting(self._service, head.id):
                raise Conflict(f"{head.id} is held by somebody")
            head = database.get_head(head.id)
        if head.state == "QUEUED":
            events = [(e.kind, e.body) for e in database.events(head.id)]
            faults = faults_in_a_row(events)
            if faults.number >= self._policy.most_faults or _is_hopeless(faults, events):
                self._give_up(head, faults)
            elif faults.number:
                pauses = self._policy.pauses_s
                pause = pauses[min(faults.number, len(pauses)) - 1]
                not_before = self._clock() + pause
        self._write(head.id, driver_id=None, not_before=not_before, slots=None)
        self._closing.discard(head.id)
        self._known.pop(head.id, None)

    def _give_up(self, head: JobHead, faults: Faults) -> None:
        from automata_svc.jobs.drive import command_without_driver

        said = faults.reason
        if faults.number > 1:
            said = f"{faults.number} drivers in a row got no further; the last: {said}"
        verb = "pause" if faults.halted or UNREACHED in faults.reason else "fail"
        _log.warning("%s: %s", head.id, said)
        if not command_without_driver(self._service, head.id, verb, said):
            raise Conflict(f"{head.id} is held by somebody")

    def _keep_words(self, head: JobHead, word: Word | None, launcher: Launcher | None) -> None:
        """What a driver that failed has printed, kept where Ray's own end does not take it away."""
        if word is None or launcher is None or word.status != "FAILED":
            return
        with suppress(AutomataError):
            text = launcher.logs(word.id)
            key = f"logs/{head.id}/driver/{head.attempt:04d}-ray.txt"
            if text and not self._service.store.keys(f"logs/{head.id}/driver"):
                self._service.store.put(key, text.encode("utf-8", "backslashreplace"))

    # ---- jobs that are to get one ---------------------------------------------------------------

    def _allot(self, ray: _Ray) -> None:
        database, now = self._service.database, self._clock()
        elapsed = 0.0 if self._passed is None else max(0.0, now - self._passed)
        self._passed = now
        heads = database.list_jobs(driver="service", state=("QUEUED", "STARTING", "RUNNING"))
        self._forget({head.id for head in heads})
        if not heads:
            return
        self._look_around(ray)
        heads.sort(key=lambda head: (head.created_at, head.id))
        wants: list[JobHead] = []
        said: dict[str, str] = {}
        for head in heads:
            if head.state != "QUEUED":
                wants.append(head)
                if ray.launcher is None and not _is_driven(head):
                    said[head.id] = f"Ray, for its driver: {ray.absent}"
            elif head.driver_id is not None:
                said[head.id] = "the driver before the next one: it is about to end"
            elif head.not_before is not None and head.not_before > now:
                reason = json.loads(head.summary).get("reason", "")
                said[head.id] = f"its next attempt, after a pause: {reason}"
            elif ray.launcher is None:
                said[head.id] = f"Ray: {ray.absent}"
            else:
                wants.append(head)
        if self._placement.nodes is not None:
            cluster = cluster_of(self._placement.nodes, self._policy.drivers, len(wants))
            found = allot(
                [self._as_job(head, now) for head in wants],
                cluster, self._policy.quotas, self._ledger, now, elapsed,
            )  # fmt: skip
            self._ledger = found.ledger
            said.update(found.waiting)
            self._grant(wants, found, ray, said)
        for head in heads:
            self._say(head, said.get(head.id), now)

    def _grant(
        self,
        heads: Sequence[JobHead],
        found: Allotment,
        ray: _Ray,
        said: dict[str, str],
    ) -> None:
        by_id = {head.id: head for head in heads}
        for job, slots in found.slots.items():
            head = by_id[job]
            if head.state != "QUEUED":
                if head.slots != slots:
                    self._write(job, slots=slots)
                if slots == 0:
                    said[job] = "its turn: its slots are with others for a while"
        for job in found.admit:
            if ray.launcher is None:  # it was lost with the job before
                said[job] = f"Ray: {ray.absent}"
                continue
            with suppress(Conflict, NotFound):
                self._admit(by_id[job], found.slots[job], ray)

    def _admit(self, head: JobHead, slots: int, ray: _Ray) -> None:
        attempt = head.attempt + 1
        database = self._service.database
        # The name first: a driver that was asked for is never without it.
        self._write(
            head.id, attempt=attempt, driver_id=driver_id(head.id, attempt), slots=slots,
            not_before=None,
        )  # fmt: skip
        self._closing.add(head.id)
        if move(database, head.id, "start", f"driver {attempt} starts"):
            self._launch(database.get_head(head.id), ray)

    def _launch(self, head: JobHead, ray: _Ray) -> None:
        order = Order.of(
            head.id, head.attempt, name=head.name, project=head.project,
            recycle_after=self._policy.recycle_after,
            pip=packages_of(self._service.database.get_job(head.id)),
        )  # fmt: skip
        if ray.launcher is None:
            return
        try:
            ray.launcher.submit(order)
        except Unavailable as error:
            self._lose(ray, error)
            _log.warning("%s: %s", head.id, error)  # STARTING without a driver: the next pass

    def _say(self, head: JobHead, reason: str | None, now: float) -> None:
        """Writes what a job waits for, where that has changed."""
        before = json.loads(head.waiting) if head.waiting else None
        if (before and before["for"]) == reason:
            return
        since = before["since"] if before and head.state == "QUEUED" else _waits_since(head, now)
        waiting = None if reason is None else json.dumps({"for": reason, "since": since})
        with suppress(NotFound):
            self._write(head.id, waiting=waiting)

    def _as_job(self, head: JobHead, now: float) -> Job:
        known = self._of(head)
        running = json.loads(head.summary).get("running", 0)
        uses, most = None, known.most
        if head.state == "RUNNING":
            uses = running
            unused = head.slots is not None and running < head.slots
            if not unused:
                known.idle_since = None
            elif known.idle_since is None:
                known.idle_since = now
            elif now - known.idle_since > IDLE_S:
                most = max(1, running) if most is None else min(most, max(1, running))
        waiting = json.loads(head.waiting) if head.waiting else {}
        return Job(
            id=head.id,
            project=head.project,
            priority=head.priority,
            size=known.size,
            most=most,
            since=waiting.get("since", head.updated_at),
            runs=head.state != "QUEUED",
            returns=head.attempt > 0,
            slots=head.slots or 0,
            uses=uses,
            queue=head.queue,
        )

    # ---- the cluster ----------------------------------------------------------------------------

    def _look_around(self, ray: _Ray) -> None:
        """Looks at the machines, where that is some time ago."""
        if ray.launcher is not None and self._placement.age_s >= NODES_S:
            try:
                self._placement.nodes = tuple(ray.launcher.nodes())
            except Unavailable as error:
                self._lose(ray, error)

    def _sweep(self, ray: _Ray) -> None:
        """Ends drivers that no job is waiting for: of a job that was deleted, or an old attempt."""
        now = time.monotonic()
        launcher = ray.launcher
        if launcher is None or now - self._swept < SWEEP_S:
            return
        self._swept = now
        try:
            words = launcher.drivers()
        except Unavailable as error:
            self._lose(ray, error)
            return
        for word in words:
            job = job_of(word.id)
            if job is None:
                continue
            try:
                head = self._service.database.get_head(job)
                wanted = head.driver_id == word.id and head.driver == "service"
            except NotFound:
                wanted = False
            if not wanted:
                _log.warning("stops driver %s: nobody waits for it", word.id)
                with suppress(Unavailable):
                    launcher.stop(word.id)

    # ---- below ----------------------------------------------------------------------------------

    def _of(self, head: JobHead) -> _Known:
        known = self._known.get(head.id)
        if known is not None and known.revision == head.revision:
            return known
        record = self._service.database.get_job(head.id)
        most = most_at_a_time(record)
        if known is None:
            plan = json.loads(record.plan)
            size = Size(float(plan["cpus"]), float(plan["gpus"]))
            known = self._known[head.id] = _Known(size, most, record.revision)
        known.most, known.revision = most, record.revision
        return known

    def _forget(self, live: set[str]) -> None:
        for job in self._known.keys() - live - self._closing:
            del self._known[job]


def _is_hopeless(faults: Faults, events: Sequence[tuple[str, str]]) -> bool:
    """Whether its packages could never be installed: each try takes minutes, and ends alike.

    A job that has run with them is tried again: what it needs may be away for a while.
    """
    has_run = any(kind == "driver_started" for kind, _ in events)
    return NOT_INSTALLED in faults.reason and not has_run


def _is_driven(head: JobHead) -> bool:
    """Whether it is leased, and whoever holds the lease is not known to be dead."""
    from automata_svc.database import is_gone

    return head.is_leased and not (head.lease_owner is not None and is_gone(head.lease_owner))


def _waits_since(head: JobHead, now: float) -> float:
    return head.updated_at if head.state == "QUEUED" else now
