"""What is a server's alone: going on with a job whose driver is still on its way out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from automata_svc.client.http import Http
from automata_svc.database import this_process
from automata_svc.jobs.drive import carry_out_waiting
from automata_svc.jobs.following import Follower, together
from automata_svc.jobs.remote import RemoteService
from automata_svc.tuning.events import JobState as Moved
from automata_svc.tuning.events import encode
from tests.api.served import Served, serving
from tests.tuning.build import make_plan


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as one:
        yield one


def test_a_job_that_was_paused_just_now_goes_on_once_its_driver_has_left(served: Served) -> None:
    database = served.world.service.database
    job = served.submit("paused")
    token = database.take_lease(job, this_process(), 60.0)
    now = time.time()
    for state in ("STARTING", "RUNNING", "PAUSED"):
        database.append(job, token, [encode(Moved(state, "said", now))], now, state=state)
    with Http(served.url, served.token("admin")) as http, ThreadPoolExecutor(1) as pool:
        there = RemoteService(http)
        going_on = pool.submit(there.drive, job)
        while not database.waiting_commands(job):
            time.sleep(0.01)
        time.sleep(0.3)
        assert not going_on.done()  # it is PAUSED still, and that is not its end
        database.release(job, token)
        assert carry_out_waiting(served.world.service, job)
        time.sleep(0.3)
        assert not going_on.done()  # it waits for its turn
        there.stop(job)
        assert going_on.result(10).state == "CANCELLED"


def test_what_was_missed_is_told_batch_by_batch_each_with_the_state_of_its_time() -> None:
    moves = [("STARTING", 1.0), ("RUNNING", 1.0), ("PAUSED", 2.0), ("QUEUED", 3.0)]
    events = [(n, at, Moved(to, "said", at)) for n, (to, at) in enumerate(moves, start=1)]
    seen: list[tuple[str, int]] = []
    follower = Follower(make_plan(), 0, lambda state, new: seen.append((state.state, len(new))))
    follower.take(events)
    assert seen == [("RUNNING", 2), ("PAUSED", 1), ("QUEUED", 1)]


def test_who_stops_looking_leaves_no_reader_behind() -> None:
    coming = threading.Semaphore(1)
    read: list[int] = []

    def events() -> Iterator[Any]:
        for seq in range(1, 100):
            coming.acquire()
            read.append(seq)
            yield seq, 0.0, None

    before = threading.active_count()
    batches = together(events())
    assert next(batches) == [(1, 0.0, None)]
    batches.close()
    coming.release()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before and read == [1, 2]
