from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text

from automata_svc.database import open_database, this_process
from automata_svc.database.schema import jobs
from automata_svc.database.store import CHUNK, Database
from automata_svc.errors import Conflict, Damaged, LeaseLost, NotFound

ROOT = Path(__file__).resolve().parents[2]


def log(database: Database, job: str) -> list[tuple[int, str]]:
    return [(one.seq, one.body) for one in database.events(job)]


# ---- appending ----------------------------------------------------------------------------------


def test_events_are_numbered_from_1_without_gaps(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    assert database.append(job, token, [("x", "1"), ("y", "2")], at=5.0) == 1
    assert database.append(job, token, [("z", "3")], at=6.0) == 3
    assert [tuple(one) for one in database.events(job)] == [
        (1, 5.0, "x", "1"),
        (2, 5.0, "y", "2"),
        (3, 6.0, "z", "3"),
    ]
    assert database.get_job(job).seq == 3


def test_state_and_summary_go_with_the_events(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    database.append(job, token, [("x", "1")], at=5.0, state="RUNNING", summary='{"best":1}')
    database.append(job, token, [("x", "2")], at=6.0)
    found = database.get_job(job)
    assert (found.state, found.summary, found.updated_at) == ("RUNNING", '{"best":1}', 6.0)
    assert database.append(job, token, [], at=7.0, state="PAUSED") == 3
    assert database.get_job(job).state == "PAUSED"
    assert database.get_job(job).seq == 2


def test_the_logs_of_two_jobs_are_apart(database: Database, job: str) -> None:
    other = database.create_job(name="b", spec="", plan="", template="", created_at=1.0)
    for name in (job, other):
        database.append(name, database.take_lease(name, "a", 60), [("x", name)], at=1.0)
    assert log(database, job) == [(1, job)]
    assert log(database, other) == [(1, other)]


def test_a_reader_starts_after_an_event_and_takes_as_many_as_it_wants(
    database: Database, job: str
) -> None:
    token = database.take_lease(job, "a", 60)
    total = 2 * CHUNK + 7
    database.append(job, token, [("x", str(i)) for i in range(1, total + 1)], at=1.0)
    assert log(database, job) == [(i, str(i)) for i in range(1, total + 1)]
    assert [one.seq for one in database.events(job, after=total - 2)] == [total - 1, total]
    assert len(list(database.events(job, limit=CHUNK + 1))) == CHUNK + 1
    assert [one.seq for one in database.events(job, after=3, limit=2)] == [4, 5]
    assert list(database.events(job, limit=0)) == []
    assert list(database.events(job, after=total)) == []


def test_events_of_no_job_are_none(database: Database) -> None:
    assert list(database.events("job_none")) == []


def test_a_reader_that_stops_early_blocks_nobody(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    database.append(job, token, [("x", "1")] * (CHUNK + 5), at=1.0)
    reader = database.events(job)
    next(reader)
    database.append(job, token, [("x", "2")], at=2.0)
    assert sum(1 for _ in reader) == CHUNK + 5


def test_a_missing_event_is_noticed(database: Database, job: str, url: str) -> None:
    token = database.take_lease(job, "a", 60)
    database.append(job, token, [("x", "1")] * 4, at=1.0)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM events WHERE seq = 2"))
    engine.dispose()
    with pytest.raises(Damaged, match=f"event 2 of job {job} is missing; 3 is next"):
        list(database.events(job))


def test_a_batch_with_a_bad_event_is_not_written_at_all(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    with pytest.raises(Exception, match="."):
        database.append(job, token, [("x", "1"), ("y", None)], at=1.0)  # type: ignore[list-item]
    assert log(database, job) == []
    assert database.append(job, token, [("x", "1")], at=1.0) == 1


def test_threads_of_one_process_append_one_after_the_other(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)

    def work(name: str) -> None:
        for i in range(50):
            database.append(job, token, [(name, str(i)), (name, str(i))], at=1.0)
            database.renew(job, token, 60)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list(database.events(job))
    assert [one.seq for one in events] == list(range(1, 301))
    for name in "abc":
        assert [int(one.body) for one in events if one.kind == name] == [i // 2 for i in range(100)]


# ---- leases -------------------------------------------------------------------------------------


def test_a_live_lease_is_not_given_to_another(database: Database, job: str) -> None:
    assert database.take_lease(job, "here:1:x", 60) == 1
    assert database.get_job(job).is_leased
    with pytest.raises(Conflict, match="is driven by here:1:x; its lease runs for another [56]"):
        database.take_lease(job, "there:2:y", 60)


def test_this_very_process_does_not_drive_a_job_twice(database: Database, job: str) -> None:
    database.take_lease(job, this_process(), 60)
    with pytest.raises(Conflict, match="is driven by"):
        database.take_lease(job, this_process(), 60)


def test_a_lease_that_ran_out_is_taken_over_and_its_token_refused(
    database: Database, job: str
) -> None:
    old = database.take_lease(job, "here:1:x", 0.0)
    assert not database.get_job(job).is_leased
    new = database.take_lease(job, "there:2:y", 60)
    assert new == old + 1
    for write in (
        lambda: database.append(job, old, [("x", "1")], at=1.0, state="FAILED"),
        lambda: database.renew(job, old, 60),
        lambda: database.release(job, old),
    ):
        with pytest.raises(LeaseLost, match=rf"token {old}\) is lost: there:2:y holds it now"):
            write()
    assert log(database, job) == []
    assert database.get_job(job).state == "QUEUED"
    assert database.append(job, new, [("x", "2")], at=1.0) == 1


def test_a_lease_that_ran_out_still_writes_until_somebody_takes_it(
    database: Database, job: str
) -> None:
    token = database.take_lease(job, "a", 0.0)
    assert database.append(job, token, [("x", "1")], at=1.0) == 1
    database.renew(job, token, 60)
    assert database.get_job(job).is_leased


def test_a_lease_that_was_given_back_writes_nothing(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    database.release(job, token)
    assert database.get_job(job).lease_owner is None
    with pytest.raises(LeaseLost, match="it was given back"):
        database.append(job, token, [("x", "1")], at=1.0)
    assert database.take_lease(job, "b", 60) > token


def test_no_job_has_no_lease(database: Database) -> None:
    with pytest.raises(NotFound):
        database.take_lease("job_none", "a", 60)
    with pytest.raises(NotFound):
        database.append("job_none", 1, [], at=1.0)


# ---- other processes ----------------------------------------------------------------------------

PRELUDE = """
import sys
from automata_svc.database import open_database, this_process
from automata_svc.errors import Conflict, LeaseLost
url, job = sys.argv[1:]
database = open_database(url)
"""


def spawn(code: str, url: str, job: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, url, job],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


RACE = """
print("ready", flush=True)
input()
try:
    token = database.take_lease(job, this_process(), 60)
    print("won", flush=True)
except Conflict:
    token = 0
    print("lost", flush=True)
try:
    for i in range(20):
        database.append(job, token, [("x", this_process())], at=1.0)
    print("wrote", flush=True)
except LeaseLost:
    print("refused", flush=True)
input()
"""


def test_of_two_processes_one_gets_the_lease_and_the_other_writes_nothing(
    database: Database, job: str, url: str
) -> None:
    racers = [spawn(RACE, url, job) for _ in range(2)]
    try:
        assert [line(one) for one in racers] == ["ready", "ready"]
        for one in racers:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        said = {(line(one), line(one)) for one in racers}
    finally:
        for one in racers:
            one.communicate("\n")
    assert said == {("won", "wrote"), ("lost", "refused")}
    events = list(database.events(job))
    assert len(events) == 20
    assert len({one.body for one in events}) == 1


WRITE_ON = """
token = database.take_lease(job, this_process(), 3600)
print("started", flush=True)
i = 0
while True:
    i += 1
    batch = [("x", f"{i}:{k}:" + "y" * 2000) for k in range(50)]
    database.append(job, token, batch, at=1.0, summary=str(i))
"""


@pytest.mark.parametrize("delay_s", [0.03, 0.08, 0.15])
def test_a_killed_writer_leaves_whole_batches_and_its_lease_is_free_at_once(
    database: Database, job: str, url: str, delay_s: float
) -> None:
    writer = spawn(WRITE_ON, url, job)
    assert line(writer) == "started"
    try:
        writer.wait(delay_s)
    except subprocess.TimeoutExpired:
        writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    events = list(database.events(job))
    found = database.get_job(job)
    assert len(events) == found.seq
    assert len(events) % 50 == 0
    batches = len(events) // 50
    assert found.summary == (str(batches) if batches else "{}")
    assert [one.body.split(":")[:2] for one in events] == [
        [str(i), str(k)] for i in range(1, batches + 1) for k in range(50)
    ]
    assert found.is_leased  # for an hour, had it not been a process of this machine
    token = database.take_lease(job, this_process(), 60)
    assert database.append(job, token, [("x", "on")], at=2.0) == len(events) + 1


def test_a_writer_waits_for_the_one_before_it(database: Database, job: str, url: str) -> None:
    token = database.take_lease(job, "a", 60)
    done = threading.Event()
    with open_database(url) as other, other._writing() as connection:
        # SQLite is locked as a whole already.
        connection.execute(select(jobs.c.id).where(jobs.c.id == job).with_for_update())
        thread = threading.Thread(
            target=lambda: (database.append(job, token, [("x", "1")], at=1.0), done.set())
        )
        thread.start()
        assert not done.wait(0.1)
        assert list(database.events(job)) == []  # a reader does not wait
    thread.join()
    assert log(database, job) == [(1, "1")]


def test_two_processes_make_one_new_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'automata.db'}"
    code = "from automata_svc.database import open_database; import sys; open_database(sys.argv[1])"
    racers = [
        subprocess.Popen([sys.executable, "-c", code, url], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    errors = [one.communicate()[1].decode() for one in racers]
    assert [one.returncode for one in racers] == [0, 0, 0], errors
    assert os.path.exists(tmp_path / "new" / "automata.db")
