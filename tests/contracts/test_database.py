"""What every kind of database must do alike; `tests/database/opened.py` lists the kinds."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from automata_svc.database import (
    OVER,
    BundleRow,
    DeliveryRow,
    TokenRow,
    TrialRow,
    UploadRow,
    new_job_id,
    open_database,
    this_process,
)
from automata_svc.database.log import trial_of
from automata_svc.database.store import Database
from automata_svc.database.upgrade import check_database, upgrade_database
from automata_svc.errors import (
    Conflict,
    KeyReused,
    LeaseLost,
    NotFound,
    Replayed,
    SpecError,
    Stale,
)
from automata_svc.tuning.state import JOB_ENDS
from tests.database import opened
from tests.database.opened import make, row
from tests.real import postgres as server

ROOT = Path(__file__).resolve().parents[2]

url, database, job = opened.url, opened.database, opened.job
postgres, postgres_url = server.postgres, server.postgres_url

# A name that people write, and one that breaks what is not careful about quotes and bytes.
AWKWARD = "naïve 'quoted' \"name\" %s %(x)s :y \\ ☃ 𝄞"


def at_once(n: int, work: Callable[[int], Any]) -> list[Any]:
    """What each of n threads brings back, all let go at the same moment; errors as values."""
    gate = threading.Barrier(n)

    def run(i: int) -> Any:
        gate.wait(20)
        try:
            return work(i)
        except Exception as error:
            return error

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


# ---- submitting ---------------------------------------------------------------------------------


def submit(database: Database, key: str, fingerprint: str = "f", project: str = "p") -> str:
    return make(database, project=project, idempotency=(key, fingerprint))


def test_what_a_service_keeps_of_a_job_comes_back(database: Database) -> None:
    made = make(
        database,
        AWKWARD,
        driver="service",
        queue="night",
        priority=70,
        labels='{"team": "vision"}',
        created_by="tok_1",
    )
    found = database.get_head(made)
    assert found == database.list_jobs()[0]
    assert (found.name, found.driver, found.queue, found.priority) == (
        AWKWARD,
        "service",
        "night",
        70,
    )
    assert (found.labels, found.created_by, found.revision) == ('{"team": "vision"}', "tok_1", 1)
    assert (found.attempt, found.driver_id, found.not_before, found.waiting, found.slots) == (
        (0,) + (None,) * 4
    )
    assert found.ended_at is None


def test_a_hundred_submissions_with_one_key_make_one_job(database: Database) -> None:
    said = at_once(100, lambda i: submit(database, "k"))
    (made,) = [one for one in said if isinstance(one, str)]
    again = [one for one in said if not isinstance(one, str)]
    assert all(type(one) is Replayed and one.job_id == made for one in again), again[:3]
    assert [one.id for one in database.list_jobs()] == [made]


SUBMIT = """
import sys
from automata_svc.database import open_database
from automata_svc.errors import Replayed
with open_database(sys.argv[1]) as database:
    print("ready", flush=True)
    input()
    for i in range(10):
        try:
            print(database.create_job(name="a", spec="", plan="", template="", created_at=1.0,
                                      idempotency=(f"key {i}", "f")))
        except Replayed as again:
            print(again.job_id)
"""


def test_two_processes_with_the_same_keys_make_the_same_jobs(database: Database, url: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", SUBMIT, url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for one in racers:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in racers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    first, second = [one.communicate()[0].split() for one in racers]
    assert first == second
    assert len(set(first)) == len(database.list_jobs()) == 10


def test_a_key_is_one_project_s_own(database: Database) -> None:
    mine, theirs = submit(database, "k", project="x"), submit(database, "k", project="y")
    assert mine != theirs
    assert database.find_submission("x", "k", "f") == mine
    assert database.find_submission("y", "k", "f") == theirs
    assert database.find_submission("z", "k", "f") is None


def test_a_key_does_not_stand_for_two_submissions(database: Database) -> None:
    made = submit(database, "k", "one")
    for ask in (
        lambda: submit(database, "k", "another"),
        lambda: database.find_submission("p", "k", "another"),
    ):
        with pytest.raises(KeyReused, match=f"'k' stands for another submission .{made}."):
            ask()
    assert len(database.list_jobs()) == 1


def test_a_refused_submission_leaves_its_key_free(database: Database) -> None:
    taken = make(database)
    with pytest.raises(Conflict, match="exists already"):
        make(database, job_id=taken, idempotency=("k", "f"), project="p")
    assert database.find_submission("p", "k", "f") is None
    submit(database, "k")


def test_the_key_of_a_deleted_job_is_free(database: Database) -> None:
    made = make(database, project="p", state="FAILED", idempotency=("k", "f"))
    database.delete_job(made)
    assert submit(database, "k") != made


def test_a_key_that_has_expired_makes_a_new_job_for_everybody_who_sends_it_at_once(
    database: Database,
) -> None:
    old = make(database, project="p", idempotency=("k", "f"), key_ttl_s=0.0)
    assert database.find_submission("p", "k", "f") is None
    said = at_once(100, lambda i: submit(database, "k", "another"))
    (new,) = [one for one in said if isinstance(one, str)]
    again = [one for one in said if not isinstance(one, str)]
    assert all(type(one) is Replayed and one.job_id == new for one in again), again[:3]
    assert {one.id for one in database.list_jobs()} == {old, new}
    assert database.find_submission("p", "k", "another") == new
    with pytest.raises(KeyReused):
        submit(database, "k", "f")


def test_keys_whose_time_is_over_are_forgotten_and_no_others(database: Database) -> None:
    for key, ttl_s in (("old", 0.0), ("older", -5.0), ("good", 60.0), ("for ever", None)):
        make(database, project="p", idempotency=(key, "f"), key_ttl_s=ttl_s)
    assert database.drop_expired_keys(dry_run=True) == 2
    assert database.drop_expired_keys() == 2
    assert database.drop_expired_keys() == 0
    for key, is_known in (("old", False), ("good", True), ("for ever", True)):
        assert (database.find_submission("p", key, "f") is not None) == is_known


# ---- finding ------------------------------------------------------------------------------------


def test_a_job_of_another_project_is_not_there(database: Database) -> None:
    made = make(database, "secret-name", project="theirs", job_id="job_01AB")
    for asked in (made, "01A", "secret-name"):
        assert database.get_job(asked, "theirs").id == made
        for look in (database.get_job, database.get_head):
            with pytest.raises(NotFound) as caught:
                look(asked, project="mine")
            assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "job_\0"])
def test_what_no_database_can_hold_is_no_job_s_name(database: Database, name: str) -> None:
    with pytest.raises(NotFound, match="no job is called"):
        database.get_job(name)
    with pytest.raises(SpecError, match="cannot be stored"):
        database.list_jobs(name=name)
    with pytest.raises(SpecError, match="cannot be stored"):
        make(database, name)


def test_jobs_are_found_by_several_states_by_label_and_by_driver(database: Database) -> None:
    make(database, "a", 1.0, state="QUEUED", labels='{"team": "x", "n": "1"}', job_id="job_1")
    make(database, "b", 2.0, state="RUNNING", labels='{"team": "y"}', job_id="job_2")
    make(database, "c", 3.0, state="FAILED", labels='{"team": "x"}', job_id="job_3")
    make(database, "d", 4.0, state="QUEUED", driver="service", job_id="job_4")

    def ids(**asked: Any) -> list[str]:
        return [one.id[4:] for one in database.list_jobs(**asked)]

    assert ids(state=["QUEUED", "RUNNING"]) == ["4", "2", "1"]
    assert ids(state=("QUEUED", "FAILED")) == ["4", "3", "1"]
    assert ids(state=[]) == []
    assert ids(label=("team", "x")) == ["3", "1"]
    assert ids(label=("team", "x"), state="QUEUED") == ["1"]
    assert ids(label=("team", "X")) == ids(label=("Team", "x")) == ids(label=("x", "team")) == []
    assert ids(driver="service") == ["4"]


def test_pages_of_jobs_miss_and_repeat_none_while_more_arrive(database: Database) -> None:
    old = {make(database, at=float(i // 3)) for i in range(60)}
    stop = threading.Event()

    def arrive() -> None:
        at = 100.0
        while not stop.is_set():
            make(database, at=(at := at + 1.0))

    writer = threading.Thread(target=arrive)
    writer.start()
    try:
        seen: list[str] = []
        before: tuple[float, str] | None = None
        while page := database.list_jobs(limit=7, before=before):
            seen += [one.id for one in page]
            before = page[-1].created_at, page[-1].id
    finally:
        stop.set()
        writer.join()
    assert len(seen) == len(set(seen))
    assert old <= set(seen)


def test_last_seqs_are_of_the_jobs_that_are_there(database: Database) -> None:
    made = [make(database) for _ in range(3)]
    token = database.take_lease(made[1], "a", 60)
    database.append(made[1], token, [("x", "{}")] * 4, at=1.0)
    asked = [*made, *(f"job_{i}" for i in range(1_200))]
    assert database.last_seqs(asked) == {made[0]: 0, made[1]: 4, made[2]: 0}
    assert database.last_seqs([]) == {}


# ---- changing -----------------------------------------------------------------------------------


def test_a_change_counts_revisions_and_is_refused_on_an_old_one(database: Database) -> None:
    made = make(database, labels='{"team": "x"}')
    assert database.update_job(made, {"priority": 9, "queue": "night"}, 1) == 2
    assert database.update_job(made, {"labels": '{"team": "y"}'}) == 3
    found = database.get_head(made)
    assert (found.priority, found.queue, found.revision) == (9, "night", 3)
    assert database.list_jobs(label=("team", "x")) == []
    assert [one.id for one in database.list_jobs(label=("team", "y"))] == [made]
    with pytest.raises(Stale, match="is at revision 3, the change is based on 1"):
        database.update_job(made, {"priority": 1}, 1)
    with pytest.raises(Stale):
        database.update_job(made, {}, 2)
    assert database.update_job(made, {}, 3) == 3
    assert database.update_job(made, {"spec": "new"}, 3) == 4
    assert database.get_job(made).spec == "new"
    with pytest.raises(NotFound):
        database.update_job("job_none", {"priority": 1})
    with pytest.raises(ValueError, match="'state'.* cannot be changed"):
        database.update_job(made, {"state": "FAILED"})


def test_of_many_changes_based_on_one_revision_one_is_taken(database: Database, job: str) -> None:
    said = at_once(12, lambda i: database.update_job(job, {"priority": i}, 1))
    assert [one for one in said if isinstance(one, int)] == [2]
    assert all(isinstance(one, int | Stale) for one in said)
    assert database.get_head(job).priority == said.index(2)


def test_the_controller_s_fields_leave_the_revision_alone(database: Database, job: str) -> None:
    database.set_controller_fields(
        job, attempt=2, driver_id="x-a2", not_before=5.5, waiting='{"for": "slots"}', slots=3
    )
    found = database.get_head(job)
    assert (found.attempt, found.driver_id, found.not_before, found.slots) == (2, "x-a2", 5.5, 3)
    assert (json.loads(found.waiting or "")["for"], found.revision) == ("slots", 1)
    database.set_controller_fields(job, waiting=None, slots=None)
    assert database.get_head(job).waiting is database.get_head(job).slots is None
    with pytest.raises(NotFound):
        database.set_controller_fields("job_none", attempt=1)
    with pytest.raises(ValueError, match="priority"):
        database.set_controller_fields(job, priority=1)


def test_the_controller_s_fields_are_written_under_its_lease_alone(
    database: Database, job: str
) -> None:
    old = database.take_named("controller", "one", 60.0)
    database.set_controller_fields(job, ("controller", old), attempt=1)
    database.release_named("controller", old)
    new = database.take_named("controller", "another", 60.0)
    for stale in (("controller", old), ("controller", new + 1), ("nothing", 1)):
        with pytest.raises(LeaseLost):
            database.set_controller_fields(job, stale, attempt=9)
    database.set_controller_fields(job, ("controller", new), slots=2)
    assert (database.get_head(job).attempt, database.get_head(job).slots) == (1, 2)


# ---- the log and what goes with it --------------------------------------------------------------


def test_two_holders_of_tokens_leave_one_log(database: Database, job: str) -> None:
    """Each takes over as soon as it can and writes on from where the log is; none mixes in."""
    tries = 40

    def work(i: int) -> None:
        with open_database(str_url) as mine:
            for n in range(tries):
                token = mine.take_lease(job, f"elsewhere:{i}:x", 0.0)
                try:
                    mine.append(job, token, [("x", f"{i}:{n}:{k}") for k in range(3)], at=1.0)
                except LeaseLost:
                    continue

    str_url = database._engine.url.render_as_string(hide_password=False)
    assert at_once(2, work) == [None, None]
    events = list(database.events(job))
    assert [one.seq for one in events] == list(range(1, len(events) + 1))
    bodies = [one.body for one in events]
    assert len(bodies) % 3 == 0 and len(bodies) == len(set(bodies)) == database.get_head(job).seq
    for start in range(0, len(bodies), 3):  # each batch whole, in order, of one writer
        name = bodies[start].rpartition(":")[0]
        assert bodies[start : start + 3] == [f"{name}:{k}" for k in range(3)]
    assert database.get_head(job).token == 2 * tries


def test_projections_are_written_with_their_events_or_not_at_all(
    database: Database, job: str
) -> None:
    command = database.add_command(job, "pause", "{}", 1.0)
    old = database.take_lease(job, "elsewhere:1:x", 0.0)
    new = database.take_lease(job, "elsewhere:2:x", 60.0)

    def write(token: int, kind: str | None) -> None:
        database.append(
            job,
            token,
            [("x", "{}"), (kind, "{}")],  # type: ignore[list-item]
            at=2.0,
            state="SUCCEEDED",
            summary='{"best": 1}',
            commands=[command],
            trials=[row(0, metric=0.5)],
            artefacts=["subset"],
            deliveries=[delivery("dlv_1", job)],
        )

    def stored() -> tuple[Any, ...]:
        head = database.get_head(job)
        return (
            (head.state, head.seq, head.summary, head.ended_at),
            len(list(database.events(job))),
            len(database.trials(job)),
            [one.key for one in database.artefact_uses()],
            len(database.due_deliveries(9.0, 9)),
            len(database.waiting_commands(job)),
        )

    before = ("QUEUED", 0, "{}", None), 0, 0, [], 0, 1
    assert stored() == before
    with pytest.raises(LeaseLost):
        write(old, "y")
    assert stored() == before
    with pytest.raises(Exception, match="(?i)null"):
        write(new, None)
    assert stored() == before
    write(new, "y")
    assert stored() == (("SUCCEEDED", 2, '{"best": 1}', 2.0), 2, 1, ["subset"], 1, 0)


def test_a_job_ends_once(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    database.append(job, token, [("x", "{}")], at=5.0, state="FAILED")
    database.append(job, token, [("x", "{}")], at=6.0, state="FAILED")
    database.append(job, token, [("x", "{}")], at=7.0)
    assert database.get_head(job).ended_at == 5.0
    assert make_over_at(database, 3.0).ended_at == 3.0


def make_over_at(database: Database, at: float) -> Any:
    return database.get_head(make(database, at=at, state="CANCELLED"))


def test_the_states_that_end_a_job_are_the_core_s() -> None:
    assert OVER == JOB_ENDS


def test_an_append_that_was_stored_unheard_is_not_stored_again(
    database: Database, job: str
) -> None:
    token = database.take_lease(job, "a", 60)
    batch = [("x", "1"), ("y", "2")]
    for _ in range(3):  # the answer to the first two was lost
        assert database.append(job, token, batch, at=1.0, first_seq=1) == 1
    assert database.append(job, token, [("z", "3")], at=2.0, first_seq=3) == 3
    assert [(one.seq, one.at, one.body) for one in database.events(job)] == [
        (1, 1.0, "1"),
        (2, 1.0, "2"),
        (3, 2.0, "3"),
    ]


@pytest.mark.parametrize(
    ("first", "batch"),
    [
        (1, [("x", "other")]),
        (1, [("z", "1")]),
        (1, [("x", "1"), ("y", "2"), ("z", "3")]),
        (2, [("z", "3")]),
        (4, [("z", "3")]),
    ],
)
def test_a_writer_whose_log_is_elsewhere_is_stopped(
    database: Database, job: str, first: int, batch: list[tuple[str, str]]
) -> None:
    token = database.take_lease(job, "a", 60)
    database.append(job, token, [("x", "1"), ("y", "2")], at=1.0)
    with pytest.raises(LeaseLost, match=f"event {first} was to be written, the log is at 3"):
        database.append(job, token, batch, at=2.0, first_seq=first)
    assert len(list(database.events(job))) == database.get_head(job).seq == 2


def test_events_of_one_trial_are_found(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    batch: list[Any] = []
    for i in range(30):
        batch += [("passes", f'{{"trial":{i % 3},"v":1}}'), ("tick", '{"v":1,"trial":9}')]
    database.append(job, token, batch, at=1.0)
    database.append(job, token, [("said", "{}", 2), ("said", '{"trial":2}', None)], at=1.0)
    assert [one.seq for one in database.events(job, trial=1)] == list(range(3, 61, 6))
    assert [one.seq for one in database.events(job, trial=2)] == [*range(5, 61, 6), 61]
    assert [one.seq for one in database.events(job, after=3, limit=2, trial=1)] == [9, 15]
    assert list(database.events(job, trial=7)) == []


@pytest.mark.parametrize(
    ("body", "trial"),
    [
        ('{"trial":12,"v":1}', 12),
        ('{"trial":0}', 0),
        ('{"state":"RUNNING","trial":1}', None),
        ('{"trial":"1"}', None),
        ('{"trial":1.5}', None),
        ('{"trial":null}', None),
        ("{}", None),
        ("", None),
    ],
)
def test_a_body_says_which_trial_it_is_about(body: str, trial: int | None) -> None:
    assert trial_of(body) == trial


def test_numbers_come_back_to_the_last_bit(database: Database) -> None:
    at = [1795590652.3267353, 0.1 + 0.2, math.pi * 1e9, 5e-324, 1.7976931348623157e308]
    for value in at:
        made = make(database, at=1.0)
        token = database.take_lease(made, "a", 60)
        database.append(made, token, [("x", "{}")], at=value, trials=[row(0, metric=value)])
        assert next(database.events(made)).at == value
        assert database.trial(made, 0).metric == value


def test_of_two_rows_of_a_trial_in_one_append_the_last_counts(database: Database, job: str) -> None:
    token = database.take_lease(job, "a", 60)
    rows = [row(3, metric=0.25), row(1), row(3, metric=1)]  # a metric may be a whole number
    database.append(job, token, [("x", "{}")], at=1.0, trials=rows)
    assert database.trials(job) == [row(1), row(3, metric=1.0)]


@pytest.mark.parametrize("more", [{}, {"artefacts": ["k"]}], ids=["alone", "with more"])
def test_an_append_that_cannot_be_stored_whole_is_not_stored_in_part(
    database: Database, job: str, more: dict[str, Any]
) -> None:
    token = database.take_lease(job, "a", 60)
    bad = row(1, state=None)
    with pytest.raises(IntegrityError):
        database.append(job, token, [("x", "{}")], 1.0, "RUNNING", trials=[row(0), bad], **more)
    assert list(database.events(job)) == database.trials(job) == []
    assert (database.get_head(job).seq, database.get_head(job).state) == (0, "QUEUED")
    assert database.append(job, token, [("x", "{}")], at=1.0, first_seq=1, **more) == 1


def test_texts_come_back_as_they_were(database: Database) -> None:
    long = AWKWARD * 10_000  # about 300 kB
    made = database.create_job(name="a", spec=long, plan=AWKWARD, template="", created_at=1.0)
    found = database.get_job(made)
    assert (found.spec, found.plan, found.template) == (long, AWKWARD, "")
    token = database.take_lease(made, "a", 60)
    database.append(made, token, [("x", long)], at=1.0)
    assert next(database.events(made)).body == long


# ---- trials -------------------------------------------------------------------------------------


def store(database: Database, job: str, rows: Sequence[TrialRow]) -> None:
    token = database.take_lease(job, "elsewhere:1:x", 0.0)
    database.append(job, token, [("x", "{}")], at=1.0, trials=rows)


def test_a_trial_is_as_its_last_events_left_it(database: Database, job: str) -> None:
    store(database, job, [row(0), row(1, rung=1, metric=0.5)])
    last = row(0, 2, 0.75, state="PRUNED", reason="behind 3", loss=0.1, share=0.5, body="{}")
    store(database, job, [last])
    assert database.trial(job, 0) == last
    assert database.trials(job) == [last, row(1, rung=1, metric=0.5)]
    assert database.trials(job, state="PRUNED") == [last]
    for number in (2, -1):
        with pytest.raises(NotFound, match=f"has no trial {number}"):
            database.trial(job, number)
    assert database.trials("job_none") == []


def test_what_is_not_finite_or_not_storable_is_left_out_of_a_trial(
    database: Database, job: str
) -> None:
    store(database, job, [row(0, 0, math.nan, loss=math.inf, reason="a\0b\ud800c")])
    found = database.trial(job, 0)
    assert (found.metric, found.loss, found.reason) == (None, None, "a?b?c")


metrics = st.none() | st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-2, 2)


@given(
    trials=st.lists(st.tuples(st.integers(0, 3), metrics, st.sampled_from("AB")), max_size=25),
    mode=st.sampled_from(["max", "min"]),
    size=st.integers(1, 7),
    state=st.sampled_from([None, "A"]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_by_rank_add_up_to_the_sorted_list(
    database: Database,
    trials: list[tuple[int, float | None, str]],
    mode: str,
    size: int,
    state: str | None,
) -> None:
    job = make(database)
    rows = [row(n, rung, metric, state=name) for n, (rung, metric, name) in enumerate(trials)]
    store(database, job, rows)
    sign = 1.0 if mode == "min" else -1.0
    oracle = sorted(
        (one for one in rows if state in (None, one.state)),
        key=lambda one: (
            -one.rung,
            one.metric is None,
            sign * (one.metric or 0.0),
            one.number,
        ),
    )
    asked: dict[str, Any] = {"order": "rank", "mode": mode, "state": state}
    assert database.trials(job, **asked) == oracle
    paged: list[TrialRow] = []
    after: tuple[Any, ...] | None = None
    while page := database.trials(job, **asked, limit=size, after=after):
        paged += page
        after = page[-1].rung, page[-1].metric, page[-1].number
    assert paged == oracle


def test_pages_by_number_miss_and_repeat_none_while_trials_arrive(
    database: Database, job: str
) -> None:
    store(database, job, [row(n) for n in range(50)])
    stop = threading.Event()

    def arrive() -> None:
        n = 50
        while not stop.is_set():
            store(database, job, [row(n), row(random.randrange(50), 1, 0.5)])
            n += 1

    writer = threading.Thread(target=arrive)
    writer.start()
    try:
        seen: list[int] = []
        while page := database.trials(job, limit=7, after=(seen[-1],) if seen else None):
            seen += [one.number for one in page]
            if len(seen) > 200:
                break
    finally:
        stop.set()
        writer.join()
    assert seen == list(range(len(seen))) and len(seen) >= 50


def test_a_projection_is_filled_only_where_the_log_has_not_gone_on(
    database: Database, job: str
) -> None:
    token = database.take_lease(job, "a", 60)
    database.append(job, token, [("x", "{}")] * 2, at=1.0)
    assert not database.fill_trials(job, 1, [row(0)])
    assert database.trials(job) == []
    assert database.fill_trials(job, 2, [row(0), row(1)])
    assert [one.number for one in database.trials(job)] == [0, 1]
    assert not database.fill_trials("job_none", 0, [])


def test_subsets_are_in_use_until_their_jobs_are_deleted(database: Database) -> None:
    made = [
        make(database, project=p, state="FAILED", job_id=f"job_{p}{i}") for i, p in enumerate("xxy")
    ]
    for one in made:
        token = database.take_lease(one, "a", 60)
        database.append(one, token, [("x", "{}")], at=1.0, artefacts=["k1", "k2"])
        database.append(one, token, [("x", "{}")], at=1.0, artefacts=["k1"])
    assert [tuple(use) for use in database.artefact_uses("y")] == [
        ("k1", "job_y2", "y"),
        ("k2", "job_y2", "y"),
    ]
    assert len(database.artefact_uses()) == 6
    database.delete_job("job_y2")
    assert database.artefact_uses("y") == []


# ---- the end of a job ---------------------------------------------------------------------------


def test_only_a_job_that_is_over_is_deleted_and_nothing_of_it_stays(
    database: Database, job: str
) -> None:
    other = make(database, state="FAILED", labels='{"a": "b"}')
    for one in (job, other):
        token = database.take_lease(one, "a", 60)
        database.add_command(one, "stop", "{}", 1.0)
        database.append(
            one, token, [("x", "{}")], at=1.0, trials=[row(0)], artefacts=["k"],
            deliveries=[delivery(f"d{one}", one)],
        )  # fmt: skip
    with pytest.raises(Conflict, match="is QUEUED; it can be deleted when it is over"):
        database.delete_job(job)
    database.delete_job(other)
    for look in (lambda: database.get_job(other), lambda: database.delete_job(other)):
        with pytest.raises(NotFound):
            look()
    assert list(database.events(other)) == database.trials(other) == []
    assert database.waiting_commands(other) == database.list_deliveries(job_id=other) == []
    with pytest.raises(NotFound):
        database.append(other, token, [("x", "{}")], at=2.0)
    # What belongs to the other one is all there.
    assert len(list(database.events(job))) == len(database.trials(job)) == 1
    assert len(database.waiting_commands(job)) == len(database.list_deliveries(job_id=job)) == 1
    assert [use.job_id for use in database.artefact_uses()] == [job]


def test_a_deleted_job_is_not_written_to_in_the_meantime(database: Database) -> None:
    for _ in range(15):
        made = make(database, state="FAILED")
        token = database.take_lease(made, "a", 60)

        def work(i: int, made: str = made, token: int = token) -> None:
            if i == 0:
                database.delete_job(made)
            elif i == 1:
                database.append(made, token, [("x", "{}")] * 3, 1.0, trials=[row(0)])
            else:
                database.add_command(made, "stop", "{}", 1.0)

        assert all(one is None or isinstance(one, NotFound) for one in at_once(3, work))
        assert list(database.events(made)) == database.trials(made) == []
        assert database.waiting_commands(made) == []


# ---- named leases -------------------------------------------------------------------------------


def test_a_name_is_held_by_one_at_a_time(database: Database) -> None:
    said = at_once(8, lambda i: database.take_named("controller", f"elsewhere:{i}:x", 60.0))
    (token,) = [one for one in said if isinstance(one, int)]
    assert all(isinstance(one, int | Conflict) for one in said), said
    database.renew_named("controller", token, 60.0)
    assert isinstance(database.take_named("retention", this_process(), 60.0), int)
    with pytest.raises(Conflict, match="'retention' is held by"):
        database.take_named("retention", this_process(), 60.0)
    database.release_named("controller", token)
    for write in (
        lambda: database.renew_named("controller", token, 60.0),
        lambda: database.release_named("controller", token),
    ):
        with pytest.raises(LeaseLost, match="nobody holds it"):
            write()
    assert database.take_named("controller", "elsewhere:9:x", 60.0) > token


def test_a_name_that_ran_out_or_whose_holder_ended_is_taken_over(database: Database) -> None:
    first = database.take_named("controller", "elsewhere:1:x", 0.0)
    child = subprocess.run(
        [sys.executable, "-c", "from automata_svc.database import this_process as t; print(t())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    second = database.take_named("controller", child.stdout.strip(), 3600.0)
    third = database.take_named("controller", "elsewhere:2:x", 60.0)
    assert first < second < third
    with pytest.raises(LeaseLost, match="elsewhere:2:x holds it now"):
        database.renew_named("controller", second, 60.0)


# ---- tokens -------------------------------------------------------------------------------------


def token_row(n: int, **more: Any) -> TokenRow:
    values: dict[str, Any] = {
        "name": "ci",
        "project": None,
        "scopes": "jobs:read jobs:write",
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        **more,
    }
    return TokenRow(id=f"tok_{n}", hash=f"{n:064x}", created_at=float(n), **values)


def test_tokens_are_found_by_their_hash_listed_and_revoked(database: Database) -> None:
    rows = [token_row(1), token_row(2, project="x", expires_at=9.0), token_row(3, project="y")]
    for one in rows:
        database.add_token(one)
    assert database.find_token(rows[1].hash) == rows[1]
    assert database.find_token("0" * 64) is None
    assert database.list_tokens() == rows[::-1]
    assert database.list_tokens("x") == [rows[1]]
    database.revoke_token("tok_2", 5.0)
    database.touch_token("tok_2", 6.0)
    assert database.find_token(rows[1].hash) == replace(rows[1], revoked_at=5.0, last_used_at=6.0)
    for twice in (replace(rows[0], id="tok_9"), replace(rows[0], hash="f" * 64)):
        with pytest.raises(Conflict, match="exists already"):
            database.add_token(twice)
    for change in (database.revoke_token, database.touch_token):
        with pytest.raises(NotFound):
            change("tok_none", 1.0)


# ---- bundles and uploads ------------------------------------------------------------------------


def bundle(name: str, digest: str = "a", at: float = 1.0, **more: Any) -> BundleRow:
    values: dict[str, Any] = {"project": "p", "kind": "template", "created_by": None, **more}
    return BundleRow(name=name, sha256=digest * 64, size=2**40, manifest="{}", created_at=at,
                     **values)  # fmt: skip


def test_a_bundle_is_stored_once_and_is_its_project_s_own(database: Database) -> None:
    one = bundle("mine.py")
    said = at_once(5, lambda i: database.add_bundle(replace(one, created_at=float(i + 1))))
    assert said == [None] * 5
    found = database.get_bundle("p", "template", "mine.py", "a" * 64)
    assert replace(found, created_at=1.0) == one
    for asked in (
        ("q", "template", "mine.py", "a"),
        ("p", "code", "mine.py", "a"),
        ("p", "template", "other", "a"),
        ("p", "template", "mine.py", "b"),
    ):
        with pytest.raises(NotFound):
            database.get_bundle(*asked[:3], asked[3] * 64)
    database.add_bundle(replace(one, project="q"))
    assert database.delete_bundle("p", "template", "mine.py", "a" * 64)  # q has the same bytes
    assert not database.delete_bundle("q", "template", "mine.py", "a" * 64)
    with pytest.raises(NotFound):
        database.delete_bundle("q", "template", "mine.py", "a" * 64)


def test_a_bundle_is_unused_when_no_stored_job_names_it_and_nobody_wanted_it_for_a_while(
    database: Database,
) -> None:
    named, free = bundle("named"), bundle("free")
    for one in (named, free, replace(named, project="q")):
        database.add_bundle(one)
    job = make(database, project="p", state="FAILED", bundles=[("template", "named", named.sha256)])
    unused = {(one.project, one.name) for one in database.unused_bundles(0.0)}
    assert unused == {("p", "free"), ("q", "named")}
    assert database.unused_bundles(60.0) == []
    assert not database.drop_unused_bundle(named, 0.0)
    assert not database.drop_unused_bundle(free, 60.0)
    assert database.drop_unused_bundle(free, 0.0)
    assert not database.drop_unused_bundle(free, 0.0)
    for want in (database.get_bundle, database.want_bundle):
        with pytest.raises(NotFound):
            want("p", "template", "free", free.sha256)
    with pytest.raises(SpecError, match="spec.trial.template: free@.* push it again"):
        make(database, project="p", bundles=[("template", "free", free.sha256)])
    assert [one.id for one in database.list_jobs()] == [job]
    database.delete_job(job)
    assert database.drop_unused_bundle(named, 0.0)


def test_a_stored_job_s_bundle_is_never_taken_away_however_close_the_two_come(
    database: Database,
) -> None:
    for turn in range(15):
        one = bundle(f"n{turn}")
        database.add_bundle(one)

        def work(i: int, one: BundleRow = one) -> Any:
            if i % 3 == 0:
                return database.drop_unused_bundle(one, 0.0)
            if i % 3 == 1:
                return database.want_bundle(one.project, one.kind, one.name, one.sha256)
            return make(database, project="p", bundles=[(one.kind, one.name, one.sha256)])

        said = at_once(9, work)
        assert all(isinstance(one, NotFound | SpecError | BundleRow | bool | str) for one in said)
        made = [found for found in said if isinstance(found, str)]
        if made:
            assert database.want_bundle("p", one.kind, one.name, one.sha256)
            assert True not in said
        else:
            assert True in said


def test_bundles_are_listed_newest_first_in_pages(database: Database) -> None:
    rows = [bundle(f"n{i % 3}", "abcd"[i // 3], at=float(i // 4)) for i in range(12)]
    for one in [*rows, bundle("x", project="q"), bundle("x", kind="code")]:
        database.add_bundle(one)
    oracle = sorted(rows, key=lambda one: (-one.created_at, one.name, one.sha256))
    assert database.list_bundles("p", "template") == oracle
    assert database.list_bundles("p", "template", name="n1") == [
        one for one in oracle if one.name == "n1"
    ]
    paged: list[BundleRow] = []
    before: tuple[float, str, str] | None = None
    while page := database.list_bundles("p", "template", limit=5, before=before):
        paged += page
        before = page[-1].created_at, page[-1].name, page[-1].sha256
    assert paged == oracle
    assert len(database.list_bundles(None)) == 14


def test_an_upload_goes_on_from_where_it_is(database: Database) -> None:
    row = UploadRow("up_1", "p", "code", "src", "a" * 64, 10, 0, "[]", 1.0, 1.0)
    database.create_upload(row)
    with pytest.raises(Conflict):
        database.create_upload(row)
    assert database.get_upload("up_1") == row
    database.advance_upload("up_1", 0, 4, parts='["x"]', at=5.0)
    said = at_once(6, lambda i: database.advance_upload("up_1", 4, 8, at=6.0))
    assert said.count(None) == 1
    assert all(one is None or isinstance(one, Stale) for one in said)
    assert database.get_upload("up_1") == replace(row, received=8, parts='["x"]', updated_at=6.0)
    assert [one.id for one in database.list_stale_uploads(6.5)] == ["up_1"]
    assert database.list_stale_uploads(6.0) == []
    database.advance_upload("up_1", 8, 9)  # on the database's clock
    assert database.list_stale_uploads(1_700_000_000.0) == []
    database.finish_upload("up_1")
    database.finish_upload("up_1")
    for ask in (
        lambda: database.get_upload("up_1"),
        lambda: database.advance_upload("up_1", 9, 10),
    ):
        with pytest.raises(NotFound, match="no upload 'up_1' is under way"):
            ask()


# ---- deliveries ---------------------------------------------------------------------------------


def delivery(id: str, job_id: str, at: float = 1.0, **more: Any) -> DeliveryRow:
    values: dict[str, Any] = {
        "project": "p",
        "url": "https://example.org/hook",
        "event": "job.succeeded",
        "body": "{}",
        "attempts": 0,
        "next_at": at,
        "status": "waiting",
        "error": None,
        "delivered_at": None,
        **more,
    }
    return DeliveryRow(id=id, job_id=job_id, created_at=at, **values)


def test_deliveries_are_handed_out_when_they_are_due_until_they_are_done(
    database: Database,
) -> None:
    rows = [delivery(f"dlv_{i}", "job_1", float(i)) for i in range(4)]
    for one in [*rows, rows[0], replace(rows[1], body="another")]:
        database.add_delivery(one)
    assert database.due_deliveries(2.0, 10) == rows[:3]
    assert database.due_deliveries(9.0, 2) == rows[:2]
    database.update_delivery("dlv_0", status="delivered", attempts=1, delivered_at=5.0)
    database.update_delivery("dlv_1", attempts=1, error="answered 500\0", next_at=7.0)
    database.update_delivery("dlv_2", status="dead")
    assert [one.id for one in database.due_deliveries(6.0, 10)] == ["dlv_3"]
    assert [one.id for one in database.due_deliveries(7.0, 10)] == ["dlv_3", "dlv_1"]
    assert database.due_deliveries(7.0, 10)[1].error == "answered 500?"
    database.add_delivery(delivery("dlv_new", "job_2", 7.5))
    assert [one.id for one in database.due_deliveries(9.0, 2)] == ["dlv_3", "dlv_new"]
    with pytest.raises(NotFound):
        database.update_delivery("dlv_none", attempts=1)


def test_deliveries_are_listed_newest_first(database: Database) -> None:
    for i, (job_id, project) in enumerate([("a", "p"), ("b", "q"), ("a", "p")]):
        database.add_delivery(delivery(str(i), job_id, float(i), project=project))

    def ids(**asked: Any) -> list[str]:
        return [one.id for one in database.list_deliveries(**asked)]

    assert ids() == ["2", "1", "0"]
    assert ids(project="p") == ids(job_id="a") == ["2", "0"]
    assert ids(project="q", job_id="a") == []
    assert ids(limit=1) == ["2"]
    assert ids(before=(2.0, "2")) == ["1", "0"]


# ---- the clock and the tables -------------------------------------------------------------------


def test_leases_run_on_one_clock(database: Database, job: str) -> None:
    """Seconds since 1970, whatever the time zone; the machine of the tests is right by a day."""
    import time

    database.take_lease(job, "a", 100.0)
    expires = database.get_head(job).lease_expires_at
    assert expires is not None
    assert abs(expires - 100.0 - time.time()) < 86_400


def test_the_tables_are_those_of_the_migrations(url: str) -> None:
    open_database(url).close()
    version, steps = check_database(url)
    assert steps == []
    assert upgrade_database(url) == (version, version)


def test_an_id_is_of_the_length_that_columns_hold() -> None:
    assert len(new_job_id(2**40)) <= 64
