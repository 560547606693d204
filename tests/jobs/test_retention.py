"""Retention: what a job's file says is obeyed, deletion is whole, and what lives is not touched."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from automata_svc.blobs import BlobStore, Entry, open_store
from automata_svc.blobs.evicting import cached
from automata_svc.database import BundleRow, UploadRow, open_database
from automata_svc.database.store import Database
from automata_svc.errors import Conflict, NotFound, SpecError
from automata_svc.jobs.bundles import Bundles, Code, cache_of, pack
from automata_svc.jobs.retention import (
    GRACE_S,
    UNUSED_S,
    Collector,
    Removal,
    RetentionWorker,
    delete_job,
)
from automata_svc.jobs.tenancy import OPERATOR
from automata_svc.jobs.uploads import Uploads
from automata_svc.selection.artefacts import load_or_build
from automata_svc.settings import Settings
from tests.selection.test_artefacts import DATASET, request

DAY = 86_400.0
START = 1_700_000_000.0


class Killed(BaseException):
    """The process is no more."""


class Dying(BlobStore):
    """A store whose process is killed before one of its operations, the `left`-th."""

    def __init__(self, real: BlobStore, left: int = 10**9) -> None:
        super().__init__(real.url, real._store, real._settle)
        self.left = left

    def step(self) -> None:
        if self.left <= 0:
            raise Killed
        self.left -= 1

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self.step()
        return super().put(key, data, if_absent=if_absent)

    def delete(self, key: str) -> None:
        self.step()
        super().delete(key)

    def entries(self, prefix: str = "") -> list[Entry]:
        self.step()
        return super().entries(prefix)


class Place:
    """A home with its database and store, and a clock that only the test moves."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.from_env({"AUTOMATA_HOME": str(folder)})
        self.database: Database = open_database(self.settings.database_url)
        self.store = open_store(self.settings.store_url)
        self.now = START

    def clock(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        """The clock goes on, and everything in the store gets older."""
        self.now += seconds
        for path in (self.settings.home / "blobs").rglob("*"):
            if path.is_file():
                at = path.stat().st_mtime - seconds
                os.utime(path, (at, at))
        for path in (self.settings.home / "cache").rglob("index.json"):
            at = path.stat().st_mtime - seconds
            os.utime(path, (at, at))
        with sqlite3.connect(self.settings.home / "automata.db") as database:
            database.execute("UPDATE bundles SET used_at = used_at - ?", (seconds,))
        database.close()

    def job(
        self,
        state: str = "SUCCEEDED",
        retention: Mapping[str, Any] | None = None,
        winner: int | None = 1,
        driver: str = "service",
    ) -> str:
        """A job in that state, with three checkpoints, logs, and perhaps a confirmed winner."""
        spec = {"spec": {"retention": {"checkpoints": None, **(retention or {})}}}
        job = self.database.create_job(
            name="a-job",
            spec=json.dumps(spec),
            plan="{}",
            template="{}",
            created_at=self.now,
            driver=driver,
        )
        for number in range(3):
            self.store.put(checkpoint(job, number), b"weights")
        self.store.put(f"logs/{job}/driver/000", b"lines")
        printed = self.settings.home / "logs" / job
        printed.mkdir(parents=True)
        (printed / "0.log").write_text("printed")
        events = [("tick", "{}")] * 3
        if winner is not None:
            body = {"trial": winner, "checkpoint": checkpoint(job, winner)}
            events.append(("confirm_result", json.dumps(body)))
        self.append(job, [*events, *[("tick", "{}")] * 300], state)
        return job

    def append(self, job: str, events: list[tuple[str, str]], state: str | None = None) -> None:
        token = self.database.take_lease(job, "test", 60.0)
        self.database.append(job, token, events, self.now, state=state)
        self.database.release(job, token)

    def collector(self, store: BlobStore | None = None, **fields: Any) -> Collector:
        return Collector(self.database, store or self.store, self.settings, self.clock, **fields)

    def round(self, **fields: Any) -> list[Removal]:
        return list(self.collector(**fields).rounds())

    def is_stored(self, job: str) -> bool:
        try:
            return self.database.get_job(job).id == job
        except NotFound:
            return False

    def files(self, job: str) -> list[str]:
        return [key for key in self.store.keys() if f"/{job}/" in key]


def checkpoint(job: str, number: int) -> str:
    return f"checkpoints/{job}/{number}/10-s0.pt"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    one = Place(tmp_path)
    yield one
    one.database.close()


# ---- what the job's file says -------------------------------------------------------------------


def test_checkpoints_but_the_winners_go_when_their_time_is_over(place: Place) -> None:
    job = place.job(retention={"checkpoints": 14 * DAY})
    place.pass_time(14 * DAY - 1)
    assert place.round() == [] and len(place.files(job)) == 4
    place.pass_time(1)
    (gone,) = place.round()
    assert (gone.kind, gone.name, gone.blobs, gone.bytes) == ("checkpoints", job, 2, 14)
    assert place.files(job) == [checkpoint(job, 1), f"logs/{job}/driver/000"]
    assert place.round() == []


def test_the_winners_goes_too_where_the_job_says_so(place: Place) -> None:
    job = place.job(retention={"checkpoints": DAY, "keep_best": False})
    place.pass_time(DAY)
    place.round()
    assert place.files(job) == [f"logs/{job}/driver/000"]


def test_a_job_without_a_winner_keeps_no_checkpoint(place: Place) -> None:
    job = place.job("CANCELLED", {"checkpoints": DAY}, winner=None)
    place.pass_time(DAY)
    place.round()
    assert place.files(job) == [f"logs/{job}/driver/000"]


def test_what_is_to_be_kept_for_ever_is(place: Place) -> None:
    job = place.job()
    place.pass_time(10_000 * DAY)
    assert place.round() == [] and len(place.files(job)) == 4


@pytest.mark.parametrize("state", ["QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING"])
def test_nothing_of_a_job_that_is_not_over_goes(place: Place, state: str) -> None:
    job = place.job(state, {"checkpoints": 1.0, "job": 1.0})
    place.pass_time(100 * DAY)
    assert place.round() == []
    assert place.is_stored(job) and len(place.files(job)) == 4


def test_a_job_goes_with_its_rows_its_files_and_what_it_printed(place: Place) -> None:
    job, other = place.job(retention={"job": DAY}), place.job()
    place.pass_time(DAY)
    assert [(one.kind, one.name) for one in place.round()] == [("job", job)]
    assert not place.is_stored(job) and place.files(job) == []
    assert not (place.settings.home / "logs" / job).exists()
    assert place.is_stored(other) and len(place.files(other)) == 4


def test_a_service_leaves_the_jobs_of_command_lines_alone(place: Place) -> None:
    mine, theirs = (place.job(retention={"job": DAY}, driver=who) for who in ("service", "cli"))
    place.pass_time(DAY)
    place.round(drivers=frozenset({"service", "external"}))
    assert not place.is_stored(mine) and place.is_stored(theirs)
    place.round()
    assert not place.is_stored(theirs)


# ---- deletion -----------------------------------------------------------------------------------


def test_a_deleted_job_is_gone_at_once_and_others_are_not(place: Place) -> None:
    job, other = place.job(), place.job()
    delete_job(place.database, place.store, place.settings, job)
    assert not place.is_stored(job) and place.files(job) == []
    assert place.is_stored(other) and len(place.files(other)) == 4
    with pytest.raises(NotFound):
        delete_job(place.database, place.store, place.settings, job)


def test_a_job_that_runs_is_not_deleted(place: Place) -> None:
    job = place.job("RUNNING")
    with pytest.raises(Conflict, match="stop it"):
        delete_job(place.database, place.store, place.settings, job)
    assert place.is_stored(job) and len(place.files(job)) == 4 and place.store.keys("deleted") == []


def test_a_deletion_killed_at_any_step_is_made_up_for(place: Place) -> None:
    steps = 0
    while True:
        job, other = place.job(), place.job()
        store = Dying(place.store, steps)
        try:
            delete_job(place.database, store, place.settings, job)
        except Killed:
            if not place.store.exists(f"deleted/{job}"):
                assert place.is_stored(job) and steps == 0  # nobody was told that it is gone
                steps += 1
                continue
        place.round()
        assert not place.is_stored(job) and place.files(job) == []
        assert place.is_stored(other) and len(place.files(other)) == 4
        if store.left > 0:
            break
        steps += 1
    assert steps > 5


def test_a_round_killed_at_any_step_is_made_up_for_by_the_next(place: Place) -> None:
    steps = 0
    while True:
        job, kept = place.job(retention={"job": DAY}), place.job(retention={"checkpoints": DAY})
        place.store.put("checkpoints/job_nobodys/0/1.pt", b"x")
        place.pass_time(DAY)
        store = Dying(place.store, steps)
        try:
            list(place.collector(store).rounds())
        except Killed:
            place.round()
        assert not place.is_stored(job) and place.files(job) == []
        assert place.files(kept) == [checkpoint(kept, 1), f"logs/{kept}/driver/000"]
        assert place.store.keys("checkpoints/job_nobodys") == []
        if store.left > 0:
            break
        delete_job(place.database, place.store, place.settings, kept)
        steps += 1
    assert steps > 15


def test_what_a_worker_writes_after_its_job_was_deleted_is_collected(place: Place) -> None:
    job = place.job()
    delete_job(place.database, place.store, place.settings, job)
    place.store.put(checkpoint(job, 7), b"late")
    assert [(one.kind, one.name) for one in place.round(owns_store=False)] == [("orphan", job)]
    assert place.files(job) == []
    place.pass_time(GRACE_S)
    place.round()
    assert place.store.keys() == []


def test_a_note_of_a_deletion_that_was_refused_deletes_nothing_later(place: Place) -> None:
    job = place.job("FAILED")
    note = json.dumps({"seq": place.database.get_job(job).seq}).encode()
    place.store.put(f"deleted/{job}", note)
    place.append(job, [("tick", "{}")], "RUNNING")  # somebody has it tried again
    place.append(job, [("tick", "{}")], "SUCCEEDED")
    assert place.round() == []
    assert place.is_stored(job) and len(place.files(job)) == 4


def test_a_note_that_names_no_job_is_not_taken_for_a_folder(place: Place) -> None:
    for sly in ("..x", "job_.", "home", "-"):
        place.store.put(f"deleted/{sly}", b"{}")
    (place.settings.home / "logs" / "home").mkdir(parents=True)
    place.pass_time(DAY)
    assert place.round() == []
    assert (place.settings.home / "logs" / "home").is_dir()


# ---- what is nobody's ---------------------------------------------------------------------------


def test_files_of_a_job_that_no_row_knows_go_after_a_grace(place: Place) -> None:
    place.store.put("checkpoints/job_x/0/1.pt", b"x")
    assert place.round() == []
    place.pass_time(GRACE_S)
    assert [one.kind for one in place.round()] == ["orphan"]
    assert place.store.keys() == []


def test_where_another_database_may_use_the_store_unknown_jobs_are_left_alone(
    place: Place,
) -> None:
    place.store.put("checkpoints/job_x/0/1.pt", b"x")
    place.store.put("bundles/" + 64 * "a", b"x")
    place.pass_time(100 * DAY)
    shared = Settings(place.settings.home, place.settings.database_url, "s3://bucket/shared")
    collector = Collector(place.database, place.store, shared, place.clock)
    assert list(collector.rounds()) == []
    assert len(place.store.keys()) == 2


def test_a_subset_goes_two_rounds_after_the_last_job_that_used_it(place: Place) -> None:
    built = load_or_build(place.store, request(), DATASET)
    jobs = [place.job(), place.job()]
    for job in jobs:
        token = place.database.take_lease(job, "test", 60.0)
        place.database.append(job, token, [], place.now, artefacts=[built.key])
        place.database.release(job, token)
    place.pass_time(10 * DAY)
    assert place.round() == []
    delete_job(place.database, place.store, place.settings, jobs[0])
    assert place.round() == []
    delete_job(place.database, place.store, place.settings, jobs[1])
    assert [one.kind for one in place.round()] == ["condemned"]
    assert load_or_build(place.store, request(), DATASET).hit  # asked for again: it stays
    assert [one.kind for one in place.round()] == ["condemned"]
    place.pass_time(GRACE_S)
    assert [(one.kind, one.name) for one in place.round()] == [("subset", built.key)]
    assert place.store.keys("subsets") == []
    place.pass_time(2 * DAY)
    place.round()
    assert place.store.keys("leases") == []


def test_arrays_that_a_killed_builder_left_go_and_the_subsets_own_stay(place: Place) -> None:
    built = load_or_build(place.store, request(), DATASET)
    place.append(place.job(), [])
    job = place.job()
    token = place.database.take_lease(job, "test", 60.0)
    place.database.append(job, token, [], place.now, artefacts=[built.key])
    place.store.put(f"subsets/{built.key}/{64 * 'b'}", b"arrays")
    assert place.round() == []
    place.pass_time(GRACE_S)
    assert [one.bytes for one in place.round()] == [6]
    assert load_or_build(place.store, request(), DATASET).note == ""


def test_uploads_that_nobody_goes_on_with_and_bytes_without_a_row_go(place: Place) -> None:
    def upload(id: str) -> UploadRow:
        return UploadRow(id, "default", "code", "x", 64 * "a", 9, 3, "[]", place.now, place.now)

    place.database.create_upload(upload("upl_old"))
    place.store.put("uploads/upl_old/000-a", b"abc")
    kept, gone = 64 * "c", 64 * "d"
    place.database.add_bundle(BundleRow("default", "code", "x", kept, 1, "{}", place.now, None))
    for sha256 in (kept, gone):
        place.store.put(f"bundles/{sha256}", b"x")
    place.pass_time(2 * DAY)
    place.database.create_upload(upload("upl_new"))
    place.store.put("uploads/upl_new/000-a", b"abc")
    assert {(one.kind, one.name) for one in place.round()} == {
        ("upload", "upl_old"), ("bundle", gone),
    }  # fmt: skip
    assert place.store.keys("uploads") == ["uploads/upl_new/000-a"]
    assert place.store.keys("bundles") == [f"bundles/{kept}"]


# ---- rounds -------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_go_and_takes_nothing(place: Place) -> None:
    place.job(retention={"job": DAY})
    place.job(retention={"checkpoints": DAY})
    load_or_build(place.store, request(), DATASET)
    place.store.put("checkpoints/job_x/0/1.pt", b"x")
    place.pass_time(2 * DAY)
    before = place.store.keys(), len(place.database.list_jobs())
    said = list(place.collector().rounds(dry_run=True))
    assert (place.store.keys(), len(place.database.list_jobs())) == before
    done = place.round()
    # What one step takes away, a later one does not find any more.
    assert {(one.kind, one.name) for one in done} <= {(one.kind, one.name) for one in said}
    assert len(said) >= 4


def test_of_many_services_one_collects_at_a_time(place: Place) -> None:
    place.job(retention={"job": DAY})
    place.pass_time(DAY)
    token = place.database.take_named("retention", "another", 60.0)
    worker = RetentionWorker(place.collector(), "me")
    assert worker.once() == []
    place.database.release_named("retention", token)
    assert [one.kind for one in worker.once()] == ["job"]
    assert worker.once() == []


def test_the_worker_collects_until_it_is_stopped(place: Place) -> None:
    job = place.job(retention={"job": DAY})
    place.pass_time(DAY)
    worker = RetentionWorker(place.collector(), "me", every_s=0.01)
    worker.start()
    while place.is_stored(job):
        time.sleep(0.01)
    worker.stop()
    late = place.job(retention={"job": DAY})
    place.pass_time(DAY)
    time.sleep(0.1)  # ten times as long as it takes to look again
    assert place.is_stored(late)


# ---- any order ----------------------------------------------------------------------------------


class Story:
    """Jobs that are made, written to, ended, deleted and collected, with kills in between."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.running: list[str] = []
        self.over: dict[str, float] = {}  # ended at
        self.deleted: set[str] = set()

    def tell(self, script: list[tuple[int, int]]) -> None:
        for action, number in script:
            steps: list[Callable[[int], None]] = [
                self.make, self.write, self.end, self.delete, self.collect, self.wait,
            ]  # fmt: skip
            steps[action](number)
            self.check()

    def make(self, number: int) -> None:
        kept = {"checkpoints": DAY, "job": (None, 3 * DAY)[number % 2]}
        self.running.append(self.place.job("RUNNING", kept))

    def write(self, number: int) -> None:
        """A worker stores something; also one whose job is no more."""
        jobs = [*self.running, *self.over, *self.deleted]
        if jobs:
            job = jobs[number % len(jobs)]
            self.place.store.put(f"checkpoints/{job}/9/{number}.pt", b"x")

    def end(self, number: int) -> None:
        if self.running:
            job = self.running.pop(number % len(self.running))
            self.place.append(job, [("tick", "{}")], "SUCCEEDED")
            self.over[job] = self.place.now

    def delete(self, number: int) -> None:
        jobs = sorted(self.over)
        if not jobs:
            return
        job = jobs[number % len(jobs)]
        try:
            delete_job(
                self.place.database, Dying(self.place.store, number % 14), self.place.settings, job
            )
        except Killed:
            if not self.place.store.exists(f"deleted/{job}"):
                return  # killed before it began
        self.over.pop(job)
        self.deleted.add(job)

    def collect(self, number: int) -> None:
        try:
            list(self.place.collector(Dying(self.place.store, number % 60)).rounds())
        except Killed:
            return

    def wait(self, number: int) -> None:
        self.place.pass_time((GRACE_S, DAY)[number % 2])

    def check(self) -> None:
        for job in self.running:
            assert self.place.is_stored(job)
            assert {checkpoint(job, n) for n in range(3)} <= set(self.place.files(job))
        for job, ended in self.over.items():
            retention = json.loads(self.place.database.get_job(job).spec) if (
                self.place.is_stored(job)
            ) else None  # fmt: skip
            if retention is None:
                assert self.place.now - ended >= 3 * DAY
            else:
                assert checkpoint(job, 1) in self.place.files(job)
                if self.place.now - ended < DAY:
                    assert len(self.place.files(job)) >= 4


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99)), max_size=60))
@hypothesis_settings(max_examples=15)
def test_in_any_order_what_lives_stays_and_what_was_deleted_goes(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[int, int]]
) -> None:
    place = Place(tmp_path_factory.mktemp("story"))
    try:
        story = Story(place)
        story.tell(script)
        for _ in range(2):
            place.round()
            place.pass_time(GRACE_S)
        place.round()
        story.check()
        for job in story.deleted:
            assert not place.is_stored(job) and place.files(job) == []
        assert place.store.keys("deleted") == []
    finally:
        place.database.close()


# ---- bundles ------------------------------------------------------------------------------------


def push(place: Place, folder: Path, value: str) -> Code:
    """Code as a command line keeps it."""
    (folder / "mine").mkdir(parents=True, exist_ok=True)
    (folder / "mine" / "helpers.py").write_text(f"VALUE = {value!r}\n")
    bundles = Bundles(place.database, place.store, place.settings)
    return bundles.keep_code("default", folder / "mine", pack(str(folder / "mine")))


def naming(place: Place, code: Code, state: str = "FAILED") -> str:
    return place.database.create_job(
        name="a", spec='{"spec": {}}', plan="{}", template="{}", created_at=place.now,
        state=state, bundles=[("code", code.name, code.sha256)],
    )  # fmt: skip


def test_a_bundle_that_no_job_names_goes_with_its_bytes_and_what_was_unpacked_of_it(
    place: Place, tmp_path: Path
) -> None:
    free, named = push(place, tmp_path, "free"), push(place, tmp_path, "named")
    own = Bundles(place.database, place.store, place.settings).of("default")
    job = naming(place, named)
    for code in (free, named):
        assert own.files_of(code)
    place.pass_time(UNUSED_S - 1)
    assert place.round() == []
    place.pass_time(1)
    for dry_run in (True, False):
        found = [(one.kind, one.name) for one in place.collector().rounds(dry_run)]
        assert found[0] == ("bundle", f"mine@{free.sha256}")
    assert found[1:] == [("bundle", free.sha256), ("cache", free.sha256)]
    assert place.store.keys("bundles") == [f"bundles/{named.sha256}"]
    assert [one.path.name for one in cached(cache_of(place.settings))] == [named.sha256]
    delete_job(place.database, place.store, place.settings, job)
    place.pass_time(UNUSED_S)
    place.round()
    assert place.store.keys("bundles") == [] == cached(cache_of(place.settings))


def test_what_is_pushed_again_is_safe_as_if_it_were_new(place: Place, tmp_path: Path) -> None:
    code = push(place, tmp_path, "x")
    place.pass_time(UNUSED_S)
    assert push(place, tmp_path, "x") == code
    assert place.round() == []
    uploads = Uploads(Bundles(place.database, place.store, place.settings), place.clock)
    place.pass_time(UNUSED_S)
    size = place.store.size(f"bundles/{code.sha256}")
    begun = uploads.begin(OPERATOR, "default", "code", code.name, code.sha256, size)
    assert begun.bundle is not None
    assert place.round() == []


def test_another_database_s_bytes_are_left_in_a_shared_store(place: Place, tmp_path: Path) -> None:
    code = push(place, tmp_path, "x")
    place.pass_time(UNUSED_S)
    (gone,) = place.round(owns_store=False)
    assert (gone.kind, gone.blobs) == ("bundle", 0)
    assert place.store.keys("bundles") == [f"bundles/{code.sha256}"]


def test_pushing_submitting_and_collecting_at_once_leave_no_job_without_its_bundle(
    place: Place, tmp_path: Path
) -> None:
    """Collectors that wait for nothing: what is pushed may go at once, what a job names may not."""
    made: list[tuple[str, Code]] = []
    refused: list[SpecError] = []
    over = threading.Event()

    def submit(who: int) -> None:
        for turn in range(25):
            code = push(place, tmp_path / str(who), f"{turn % 3}")
            try:
                made.append((naming(place, code), code))
            except SpecError as error:
                refused.append(error)

    def collect() -> None:
        while not over.wait(0.02):
            place.round(unused_s=0.0, grace_s=0.0)

    with ThreadPoolExecutor(5) as pool:
        collecting = pool.submit(collect)
        for one in [pool.submit(submit, who) for who in range(3)]:
            one.result(60)
        over.set()
        collecting.result(60)
    assert made and all("push it again" in str(error) for error in refused)
    place.round(unused_s=0.0, grace_s=0.0)
    own = Bundles(place.database, place.store, place.settings).of("default")
    for _, code in made:
        assert own.files_of(code)


# ---- keys ---------------------------------------------------------------------------------------


def test_idempotency_keys_go_when_their_time_is_over(place: Place) -> None:
    for key, ttl_s in (("old", 0.0), ("good", DAY)):
        place.database.create_job(
            name="a", spec='{"spec": {}}', plan="{}", template="{}", created_at=START,
            project="p", idempotency=(key, "f"), key_ttl_s=ttl_s,
        )  # fmt: skip
    for dry_run in (True, False):
        (gone,) = place.collector().rounds(dry_run)
        assert (gone.kind, gone.name) == ("keys", "1 idempotency keys")
    assert place.round() == []
    assert place.database.find_submission("p", "good", "f") is not None
