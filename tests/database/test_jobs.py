from __future__ import annotations

import pytest

from automata_svc.database import JobHead, new_job_id
from automata_svc.database.store import Database
from automata_svc.errors import Conflict, NotFound, SpecError
from tests.database.opened import make


def test_a_job_comes_back_as_it_was_stored(database: Database, job: str) -> None:
    found = database.get_job(job)
    assert (found.spec, found.plan, found.template) == ("{spec}", "{plan}", "source")
    assert (found.name, found.project, found.state) == ("letter-mlp", "default", "QUEUED")
    assert (found.seq, found.token, found.lease_owner, found.is_leased) == (0, 0, None, False)
    assert (found.created_at, found.updated_at, found.summary) == (1000.0, 1000.0, "{}")


def test_ids_sort_by_time_and_are_all_different() -> None:
    ids = [new_job_id(1.7e9 + i) for i in range(50)]
    assert ids == sorted(ids)
    assert len({new_job_id(1.7e9) for _ in range(50)}) == 50
    assert all(len(one) == len("job_") + 26 for one in ids)


def test_an_id_is_given_once(database: Database) -> None:
    make(database, "a", 1.0, job_id="job_X")
    with pytest.raises(Conflict, match="job job_X exists already"):
        make(database, "b", 2.0, job_id="job_X")
    assert [one.name for one in database.list_jobs()] == ["a"]


def test_a_job_is_found_by_a_prefix_of_its_id_with_or_without_job(database: Database) -> None:
    make(database, "a", 1.0, job_id="job_01AB")
    make(database, "b", 2.0, job_id="job_01AC")
    assert database.get_job("job_01AB").name == "a"
    assert database.get_job("01AC").name == "b"
    with pytest.raises(SpecError, match=r"'01A' fits more than one job: job_01AB \(a\), job_01AC"):
        database.get_job("01A")


def test_a_prefix_is_read_letter_by_letter(database: Database) -> None:
    make(database, "a", 1.0, job_id="job_01AB")
    for wild in ("job%", "j_b_01", "%", "_"):
        with pytest.raises(NotFound):
            database.get_job(wild)


def test_the_newest_job_of_a_name_is_meant(database: Database) -> None:
    make(database, "twice", 2.0, job_id="job_B")
    make(database, "twice", 1.0, job_id="job_A")
    assert database.get_job("twice").id == "job_B"


def test_a_job_that_is_not_there_names_the_nearest(database: Database, job: str) -> None:
    with pytest.raises(
        NotFound, match="no job 'leter-mlp' is stored here; did you mean 'letter-mlp'"
    ):
        database.get_job("leter-mlp")
    with pytest.raises(NotFound, match="`automata ls` lists them"):
        database.get_job("")


def test_lists_are_newest_first_and_can_be_narrowed_and_paged(database: Database) -> None:
    for at, (name, project, state) in enumerate(
        [("a", "x", "QUEUED"), ("b", "y", "RUNNING"), ("a", "x", "RUNNING"), ("c", "x", "FAILED")]
    ):
        make(database, name, float(at), project=project, state=state, job_id=f"job_{at}")

    def ids(jobs: list[JobHead]) -> list[str]:
        return [one.id for one in jobs]

    assert ids(database.list_jobs()) == ["job_3", "job_2", "job_1", "job_0"]
    assert ids(database.list_jobs(project="x")) == ["job_3", "job_2", "job_0"]
    assert ids(database.list_jobs(project="x", state="RUNNING")) == ["job_2"]
    assert ids(database.list_jobs(name="a")) == ["job_2", "job_0"]
    page = database.list_jobs(limit=2)
    rest = database.list_jobs(limit=2, before=(page[-1].created_at, page[-1].id))
    assert ids(page + rest) == ["job_3", "job_2", "job_1", "job_0"]


def test_a_page_splits_jobs_of_the_same_moment(database: Database) -> None:
    for name in "abc":
        make(database, name, 5.0, job_id=f"job_{name}")
    page = database.list_jobs(limit=1)
    rest = database.list_jobs(before=(page[0].created_at, page[0].id))
    assert [one.id for one in page + rest] == ["job_c", "job_b", "job_a"]


def test_commands_wait_in_order_and_each_is_carried_out_once(database: Database, job: str) -> None:
    first = database.add_command(job, "pause", "{}", at=1.0)
    second = database.add_command(job, "stop", '{"reason":"x"}', at=2.0)
    assert first < second
    waiting = database.waiting_commands(job)
    assert [(one.id, one.verb, one.body) for one in waiting] == [
        (first, "pause", "{}"),
        (second, "stop", '{"reason":"x"}'),
    ]
    token = database.take_lease(job, "a", 60)
    database.append(job, token, [("command", "{}")], at=3.0, commands=[first, second])
    assert database.waiting_commands(job) == []


def test_a_command_waits_until_the_events_that_carry_it_out_are_stored(
    database: Database, job: str
) -> None:
    database.add_command(job, "pause", "{}", at=1.0)
    token = database.take_lease(job, "a", 60)
    (waiting,) = database.waiting_commands(job)
    assert database.waiting_commands(job) == [waiting]
    database.append(job, token, [("command", "{}")], at=2.0, commands=[waiting.id])
    assert database.waiting_commands(job) == []


def test_a_command_for_no_job_is_refused(database: Database) -> None:
    with pytest.raises(NotFound):
        database.add_command("job_none", "stop", "{}", at=1.0)
