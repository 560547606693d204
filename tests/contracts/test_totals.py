"""Totals outlive their jobs and lose nothing, on every kind of database."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from automata_svc.database import DeliveryRow, Total
from automata_svc.database.store import Database
from automata_svc.errors import LeaseLost
from tests.database import opened
from tests.database.opened import make, row
from tests.real import postgres as server

url, database, job = opened.url, opened.database, opened.job
postgres, postgres_url = server.postgres, server.postgres_url

END = [("job_state", '{"state":"SUCCEEDED"}')]


def counted(database: Database) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    totals, _ = database.counted()
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in totals}


def end(database: Database, job: str, totals: Sequence[Total], first_seq: int = 1) -> int:
    token = database.take_lease(job, "a", 30.0)
    return database.append(
        job, token, END, 1.0, state="SUCCEEDED", totals=totals, first_seq=first_seq
    )


def test_what_comes_with_a_jobs_end_is_added_once_and_stays(database: Database, job: str) -> None:
    totals = [Total("a", {"y": "2", "x": "1"}, 1.0), Total("a", {"x": "1", "y": "2"}, 2.0)]
    token = database.take_lease(job, "a", 30.0)
    for _ in range(2):  # the answer to the first was lost
        database.append(job, token, END, 1.0, state="SUCCEEDED", totals=totals, first_seq=1)
    assert counted(database) == {("a", (("x", "1"), ("y", "2"))): 3.0}
    database.delete_job(job)
    assert counted(database) == {("a", (("x", "1"), ("y", "2"))): 3.0}


def test_an_append_that_is_refused_adds_nothing(database: Database, job: str) -> None:
    database.take_lease(job, "a", 30.0)
    with pytest.raises(LeaseLost):
        database.append(job, 0, END, 1.0, state="SUCCEEDED", totals=[Total("a", {}, 1.0)])
    assert counted(database) == {}


def test_jobs_that_end_at_the_same_moment_are_all_counted(database: Database) -> None:
    jobs = [make(database) for _ in range(24)]
    names = ["a", "b", "c"]

    def finish(number: int) -> None:
        order = names if number % 2 else names[::-1]
        end(database, jobs[number], [Total(name, {"k": "v"}, 1.0) for name in order])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(finish, range(len(jobs))))
    assert counted(database) == {(name, (("k", "v"),)): 24.0 for name in names}


def test_a_job_is_live_or_counted_at_every_moment(database: Database) -> None:
    """By one statement: else a total would fall, and a scraper take that for a restart."""
    jobs = [make(database, queue="q") for _ in range(40)]
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(lambda: [end(database, one, [Total("jobs", {}, 1.0)]) for one in jobs])
        while not ending.done():
            totals, live = database.counted()
            assert sum(one.value for one in totals) + len(live) == len(jobs)
        ending.result()
    assert database.counted()[1] == []


def test_live_jobs_and_their_trials_are_what_they_are(database: Database, job: str) -> None:
    over = make(database)
    for one in (job, over):
        token = database.take_lease(one, "a", 30.0)
        rows = [row(number, state="RUNNING") for number in range(2)] + [row(2, state="PRUNED")]
        database.append(one, token, [("x", "1")], 1.0, state="RUNNING", summary="{}", trials=rows)
        if one == over:
            database.append(one, token, END, 1.0, state="SUCCEEDED")
    _, live = database.counted()
    (found,) = live
    head = database.get_head(job)
    assert found == (job, head.project, head.queue, "RUNNING", head.created_at, "{}", True)
    assert database.trials_of([job, "job_none"]) == {"RUNNING": 2, "PRUNED": 1}


def test_webhooks_are_counted_when_they_are_done_and_by_their_result(database: Database) -> None:
    for name in ("one", "two", "three"):
        database.add_delivery(
            DeliveryRow(
                name, "job_1", "p", "https://x", "succeeded", "{}", 0, 1.0, "waiting", None, 1.0,
                None,
            )
        )  # fmt: skip
    database.update_delivery("one", status="waiting", attempts=1)
    database.update_delivery("one", status="delivered", attempts=2)
    database.update_delivery("two", status="delivered", attempts=1)
    database.update_delivery("three", status="dead", attempts=9)
    assert counted(database) == {
        ("webhook_deliveries", (("result", "delivered"),)): 2.0,
        ("webhook_deliveries", (("result", "dead"),)): 1.0,
    }
