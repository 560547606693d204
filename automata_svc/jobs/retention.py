"""What is kept, for how long, and what goes: of jobs that ended, and of what belongs to nobody.

    deleted/<job>             a job that is to go: written first, for a kill in between
    checkpoints/<job>/…       all but the winner's go `retention.checkpoints` after the job's end
    logs/<job>/…              go with the job, `retention.job` after its end
    subsets/<key>/…           go when no job has used them for a grace period (twice looked at)
    uploads/<id>/…            go when nobody has gone on with them for a day
    bundles/<sha256>          go when no row names them any more; a row goes when no job has named
                              it, and nobody pushed it, for `unused_s`
    leases/<folder>/<name>/…  go some time after what they guarded

Of the database's own: idempotency keys, when their time is over. Of this machine: what bundles were
unpacked to, when the bundle is gone.

Every step can be repeated, and a kill between any two leaves what the next round finds. Ages are
reckoned on the store's own clock, for the machines that write there have clocks of their own.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from automata_svc.blobs import BlobStore, Entry
from automata_svc.errors import AutomataError, Conflict, LeaseLost, NotFound, SpecError
from automata_svc.selection import artefacts
from automata_svc.settings import Settings
from automata_svc.tuning.state import JOB_ENDS

if TYPE_CHECKING:
    from automata_svc.database import JobHead
    from automata_svc.database.store import Database

_log = logging.getLogger("automata.retention")

# Guess: far above the seconds between reading a subset and storing that it is used, and above the
# time that a worker outlives its driver.
GRACE_S = 3_600.0
LEASE_GRACE_S = 86_400.0  # no process sleeps that long between looking at a lease and taking it
UNUSED_S = 7 * 86_400.0  # guess: who has pushed something names it in a job within a week
FIRST_S, EVERY_S = 60.0, 3_600.0  # from a service's start to its first round, and between two
LEASE_S = 600.0  # of one round; renewed at each step

DELETED, CHECKPOINTS, LOGS = "deleted", "checkpoints", "logs"
_JOB = re.compile(r"job_[0-9A-Za-z]+")
OF_A_JOB = (CHECKPOINTS, LOGS)  # folders of the store with one of each job's


class Removal(NamedTuple):
    """One thing that goes, or would."""

    # checkpoints, job, orphan, subset, upload, bundle, cache, lease, keys; condemned: a subset of
    # a later round
    kind: str
    name: str  # a job's id, an artefact's key
    why: str
    blobs: int = 0
    bytes: int = 0


class Kept(NamedTuple):
    """A job's retention, as it was submitted; seconds after its end, None: for ever."""

    checkpoints: float | None
    keep_best: bool
    job: float | None


def delete_job(database: Database, store: BlobStore, settings: Settings, job: str) -> str:
    """Removes a job that is over: its rows at once, then its files; returns its id.

    Raises:
        NotFound: no such job.
        Conflict: it is not over.
        Unavailable: the store or the database is away; asked again, it goes on.
    """
    record = database.get_job(job)
    if record.state not in JOB_ENDS:
        raise Conflict(f"{record.id} is {record.state}; stop it before it is deleted")
    note = {"project": record.project, "name": record.name, "seq": record.seq}
    store.put(f"{DELETED}/{record.id}", json.dumps(note).encode())
    try:
        database.delete_job(record.id)
    except NotFound:
        pass  # somebody else deletes it, too
    except Conflict:
        store.delete(f"{DELETED}/{record.id}")
        raise
    _delete_files(store, settings, record.id)
    return record.id


def _delete_files(store: BlobStore, settings: Settings, job: str) -> None:
    for folder in OF_A_JOB:
        for key in store.keys(f"{folder}/{job}"):
            store.delete(key)
    # What trials printed on this machine.
    shutil.rmtree(settings.home / LOGS / job, ignore_errors=True)


# ---- rounds -------------------------------------------------------------------------------------


@dataclass
class Collector:
    """Goes through database and store and takes away what nobody is to have any more."""

    database: Database
    store: BlobStore
    settings: Settings
    clock: Callable[[], float] = time.time  # the one that jobs' ends were written by
    grace_s: float = GRACE_S
    unused_s: float = UNUSED_S  # for which a bundle that no job names is kept
    # Whether files of jobs that the database does not know are nobody's: not where another
    # database (a colleague's command line) puts its jobs' files into the same store.
    owns_store: bool | None = None
    drivers: frozenset[str] | None = None  # whose jobs' retention is obeyed; None: all
    _kept: OrderedDict[tuple[str, int], Kept] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.owns_store is None:
            self.owns_store = self.settings.is_embedded

    def rounds(self, dry_run: bool = False) -> Iterator[Removal]:
        """One round; each step is taken (or in a dry run, would be) before it is given out.

        Raises:
            Unavailable: store or database are away; what was done is done, the rest is left.
        """
        now = self.store.now()
        yield from self._half_deleted(now, dry_run)
        yield from self._jobs(dry_run)
        yield from self._checkpoints(dry_run)
        yield from self._unknown(now, dry_run)
        yield from self._subsets(now, dry_run)
        yield from self._pushes(dry_run)
        yield from self._cache(dry_run)
        yield from self._leases(now, dry_run)
        yield from self._submission_keys(dry_run)

    # ---- jobs ---------------------------------------------------------------------------------

    def _half_deleted(self, now: float, dry_run: bool) -> Iterator[Removal]:
        """What a killed deletion left, and what a worker wrote after it."""
        for note in self.store.entries(DELETED):
            job = note.key.rpartition("/")[2]
            if not _JOB.fullmatch(job):  # it is to be a folder's name below
                continue
            head = self._head(job)
            if head is not None:
                if not self._was_meant(note.key, head):
                    if not dry_run:
                        self.store.delete(note.key)
                    continue
                if not dry_run:
                    with suppress(NotFound, Conflict):
                        self.database.delete_job(job)
                yield Removal("job", job, "its deletion was interrupted")
            found = self._files(job)
            if found:
                if not dry_run:
                    _delete_files(self.store, self.settings, job)
                yield _removal("orphan", job, "the job was deleted", found)
            elif now - note.modified >= self.grace_s and not dry_run:
                self.store.delete(note.key)  # no worker of it is left to write anything

    def _was_meant(self, note: str, head: JobHead) -> bool:
        """Whether the job is still as it was when somebody wanted it deleted."""
        with suppress(NotFound, ValueError):
            said = json.loads(self.store.get(note))
            return head.state in JOB_ENDS and said.get("seq") == head.seq
        return False

    def _jobs(self, dry_run: bool) -> Iterator[Removal]:
        """Jobs whose time is over."""
        now = self.clock()
        for head in self._ended():
            kept = self._kept_of(head)
            ended = _ended_at(head)
            if kept.job is not None and now - ended >= kept.job:
                found = self._files(head.id)
                if not dry_run:
                    with suppress(NotFound, Conflict):  # somebody was quicker
                        delete_job(self.database, self.store, self.settings, head.id)
                why = f"retention.job: {kept.job:g} s after its end"
                yield _removal("job", head.id, why, found)

    def _checkpoints(self, dry_run: bool) -> Iterator[Removal]:
        """Weights of jobs that ended long enough ago."""
        now = self.clock()
        for job, found in _by_job(self.store.entries(CHECKPOINTS)).items():
            head = self._head(job)
            if head is None or head.state not in JOB_ENDS or not self._obeys(head):
                continue
            kept = self._kept_of(head)
            if kept.checkpoints is None or now - _ended_at(head) < kept.checkpoints:
                continue
            best = _winners(self.database, head) if kept.keep_best else frozenset()
            going = [entry for entry in found if entry.key not in best]
            if going:
                if not dry_run:
                    for entry in going:
                        self.store.delete(entry.key)
                why = f"retention.checkpoints: {kept.checkpoints:g} s after the job's end"
                yield _removal("checkpoints", job, why, going)

    def _unknown(self, now: float, dry_run: bool) -> Iterator[Removal]:
        """Files of jobs that are in no row; only where no other database can have them."""
        if not self.owns_store:
            return
        for folder in OF_A_JOB:
            for job, found in _by_job(self.store.entries(folder)).items():
                is_young = now - max(entry.modified for entry in found) < self.grace_s
                if is_young or self._head(job) is not None:
                    continue
                if not dry_run:
                    for entry in found:
                        self.store.delete(entry.key)
                yield _removal("orphan", job, f"{folder} of no job that is stored", found)

    # ---- subsets ------------------------------------------------------------------------------

    def _subsets(self, now: float, dry_run: bool) -> Iterator[Removal]:
        """Artefacts that no stored job uses: condemned in one round, gone in a later one.

        A job that has just found one and has not stored so yet is safe: it found it before it was
        condemned, and stores its use within the grace; or it finds it condemned, and takes that
        back under the lease that removing needs, too.
        """
        used = self._used()
        for key, found in _by_job(self.store.entries(artefacts.FOLDER)).items():
            mark = [one for one in found if one.key.endswith(f"/{artefacts.CONDEMNED}")]
            rest = [one for one in found if one not in mark]
            youngest = max((one.modified for one in rest), default=0.0)
            if key in used:
                if mark and not dry_run:
                    artefacts.reprieve(self.store, key)
                yield from self._leftovers(key, rest, now, dry_run)
            elif not mark:
                if now - youngest >= self.grace_s:
                    if not dry_run:
                        artefacts.condemn(self.store, key)
                    yield Removal("condemned", key, "no stored job uses it")
            elif now - max(mark[0].modified, youngest) >= self.grace_s:
                if dry_run or self._remove(key):
                    yield _removal("subset", key, "no stored job uses it", rest)

    def _remove(self, key: str) -> bool:
        return artefacts.remove(self.store, key, lambda: key in self._used(), self.grace_s)

    def _leftovers(
        self, key: str, found: list[Entry], now: float, dry_run: bool
    ) -> Iterator[Removal]:
        """Arrays beside the ones that the manifest names: of a builder that was killed."""
        if len(found) <= 2:
            return
        with suppress(AutomataError):  # a damaged one is built anew when it is asked for
            named = artefacts.show(self.store, key).sha256
            old = [
                one
                for one in found
                if not one.key.endswith(("/manifest.json", f"/{named}"))
                and now - one.modified >= self.grace_s
            ]
            if old:
                if not dry_run:
                    for one in old:
                        self.store.delete(one.key)
                yield _removal("subset", key, "arrays that no manifest names", old)

    # ---- pushes, leases -----------------------------------------------------------------------

    def _pushes(self, dry_run: bool) -> Iterator[Removal]:
        """Uploads that nobody goes on with, and bytes of bundles that were deleted."""
        from automata_svc.jobs.bundles import Bundles
        from automata_svc.jobs.uploads import STALE_S, Uploads

        uploads = Uploads(Bundles(self.database, self.store, self.settings), self.clock)
        for upload, blobs, size in uploads.collect(STALE_S, dry_run):
            yield Removal("upload", upload, "nobody goes on with it", blobs, size)
        for row in uploads.unused(self.unused_s, dry_run):
            name = f"{row.name}@{row.sha256}"
            why = f"no job of project '{row.project}' names this {row.kind}"
            yield Removal("bundle", name, why, 0, 0)
        if self.owns_store:
            for sha256, size in uploads.orphans(self.grace_s, dry_run):
                yield Removal("bundle", sha256, "no project has it", 1, size)

    def _cache(self, dry_run: bool) -> Iterator[Removal]:
        """What this machine has unpacked of bundles that are gone."""
        from automata_svc.blobs.evicting import cached, evict, is_idle
        from automata_svc.jobs.bundles import cache_of

        entries = cached(cache_of(self.settings))
        named = {row.sha256 for row in self.database.list_bundles(None)} if entries else set()
        for one in entries:
            if one.path.name not in named and (is_idle if dry_run else evict)(one.path):
                why = "unpacked here; its bundle is gone"
                yield Removal("cache", one.path.name, why, one.files, one.bytes)

    def _leases(self, now: float, dry_run: bool) -> Iterator[Removal]:
        """Leases of what is gone; long after, for whoever looked at one before."""
        left: dict[str, set[str]] = {}
        for entry in self.store.entries("leases"):
            _, folder, name, *_ = *entry.key.split("/"), ""
            if now - entry.modified < max(LEASE_GRACE_S, self.grace_s):
                continue
            if folder not in left:
                left[folder] = {one.key.split("/")[1] for one in self.store.entries(folder)}
            if name not in left[folder]:
                if not dry_run:
                    self.store.delete(entry.key)
                yield _removal("lease", f"{folder}/{name}", "what it guarded is gone", [entry])

    def _submission_keys(self, dry_run: bool) -> Iterator[Removal]:
        count = self.database.drop_expired_keys(dry_run)
        if count:
            yield Removal("keys", f"{count} idempotency keys", "their time is over")

    # ---- looking things up --------------------------------------------------------------------

    def _used(self) -> frozenset[str]:
        return frozenset(use[0] for use in self.database.artefact_uses())

    def _files(self, job: str) -> list[Entry]:
        return [entry for one in OF_A_JOB for entry in self.store.entries(f"{one}/{job}")]

    def _ended(self) -> Iterator[JobHead]:
        before: tuple[float, str] | None = None
        while True:
            page = self.database.list_jobs(state=sorted(JOB_ENDS), limit=500, before=before)
            yield from (head for head in page if self._obeys(head))
            if len(page) < 500:
                return
            before = page[-1].created_at, page[-1].id

    def _obeys(self, head: JobHead) -> bool:
        return self.drivers is None or head.driver in self.drivers

    def _head(self, job: str) -> JobHead | None:
        with suppress(NotFound, SpecError):  # the latter: what is no id may begin several
            found = self.database.get_job(job)
            return found if found.id == job else None
        return None

    def _kept_of(self, head: JobHead) -> Kept:
        """From the job's text, which only a new revision changes."""
        known = (head.id, head.revision)
        if known not in self._kept:
            spec = json.loads(self.database.get_job(head.id).spec)["spec"]
            said = spec.get("retention") or {}
            self._kept[known] = Kept(
                said.get("checkpoints"), bool(said.get("keep_best", True)), said.get("job")
            )
            while len(self._kept) > 10_000:
                self._kept.popitem(last=False)
        return self._kept[known]


def _removal(kind: str, name: str, why: str, found: Iterable[Entry]) -> Removal:
    sizes = [entry.size for entry in found]
    return Removal(kind, name, why, len(sizes), sum(sizes))


def _by_job(entries: Iterable[Entry]) -> Mapping[str, list[Entry]]:
    """Entries by the second part of their key; what lies beside the folders is not ours."""
    found: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        parts = entry.key.split("/")
        if len(parts) > 2:
            found[parts[1]].append(entry)
    return found


def _ended_at(head: JobHead) -> float:
    return head.updated_at if head.ended_at is None else head.ended_at


def _winners(database: Database, head: JobHead) -> frozenset[str]:
    """The checkpoint that `best` would give; read from the end of the log, where it stands."""
    step, end = 200, head.seq
    while end > 0:
        start = max(0, end - step)
        for event in reversed(list(database.events(head.id, after=start, limit=end - start))):
            if event.kind == "confirm_result":
                key = json.loads(event.body).get("checkpoint")
                return frozenset({key} if key else ())
        end, step = start, step * 4
    return frozenset()


@dataclass
class RetentionWorker:
    """A thread with a round now and then; of many services on one database, one at a time."""

    collector: Collector
    owner: str
    every_s: float = EVERY_S
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="automata-retention", daemon=True)
        self._thread.start()

    def stop(self, wait_s: float = 30.0) -> None:
        """Ends after the step that is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(wait_s)

    def _run(self) -> None:
        # Soon after the start: a service that is often started again must collect, too.
        pause_s = min(FIRST_S, self.every_s)
        while not self._stop.wait(pause_s):
            try:
                self.once()
            except AutomataError as error:  # the next round may do better
                _log.warning("nothing is collected now: %s", error)
            except Exception:  # a mistake of ours must not end all collecting
                _log.exception("a round of collecting failed")
            pause_s = self.every_s

    def once(self) -> list[Removal]:
        """One round, unless another service is at it.

        Raises:
            Unavailable: store or database are away.
        """
        database, done = self.collector.database, []
        try:
            token = database.take_named("retention", self.owner, LEASE_S)
        except Conflict:
            return []
        try:
            for removal in self.collector.rounds():
                _log.info("removed %s %s: %s", removal.kind, removal.name, removal.why)
                done.append(removal)
                if self._stop.is_set():
                    break
                database.renew_named("retention", token, LEASE_S)
        except LeaseLost:
            return done
        with suppress(LeaseLost):
            database.release_named("retention", token)
        return done
