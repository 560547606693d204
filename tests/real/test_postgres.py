"""PostgreSQL when it is away, comes back, refuses, or has other plans."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from automata_svc.database import open_database, schema
from automata_svc.database.store import Database
from automata_svc.database.upgrade import check_database, upgrade_database
from automata_svc.errors import AutomataError, Replayed, SpecError, Unavailable
from automata_svc.jobs.joblog import patiently
from tests.database.opened import make, row
from tests.real.cutting import wire_to
from tests.real.postgres import PASSWORD, USER, Cluster

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.real


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with open_database(postgres_url) as opened:
        yield opened


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


# ---- opening ------------------------------------------------------------------------------------


def test_a_database_without_tables_names_the_command_that_makes_them(postgres: Cluster) -> None:
    name = postgres.create(template="template0")
    url = postgres.url(name)
    try:
        said = rf"the database {name} on 127.0.0.1:{postgres.port} has no tables of ours yet; run "
        with pytest.raises(Unavailable, match=said + "`automata db upgrade`"):
            open_database(url)
        assert check_database(url) == (None, [])
        assert upgrade_database(url) == (None, schema.VERSION)
        assert check_database(url) == (schema.VERSION, [])
        assert upgrade_database(url) == (schema.VERSION, schema.VERSION)
        open_database(url).close()
    finally:
        postgres.drop(name)


def test_old_tables_are_not_changed_by_whoever_opens_them(postgres: Cluster) -> None:
    name = postgres.create(template="template0")
    url = postgres.url(name)
    try:
        _at_version(url, "0001")
        events = "SELECT seq, trial FROM events ORDER BY seq"
        postgres.sql(
            "INSERT INTO jobs VALUES ('j', 'n', 'p', 'FAILED', 2, 0, NULL, NULL, 1, 7, '{}')",
            "INSERT INTO submissions VALUES ('j', 's', 'p', 't')",
            """INSERT INTO events VALUES ('j', 1, 1, 'x', '{"trial":12,"v":1}'),
                                         ('j', 2, 1, 'x', '{"state":"FAILED","v":1}')""",
            database=name,
        )
        with pytest.raises(Unavailable, match="older automata_svc .schema 1; .* backup, and run"):
            open_database(url)
        assert upgrade_database(url) == (1, schema.VERSION)
        assert check_database(url) == (schema.VERSION, [])
        assert postgres.sql(events, database=name) == [(1, 12), (2, None)]
        with open_database(url) as database:
            assert (database.get_job("j").spec, database.get_head("j").ended_at) == ("s", 7.0)
    finally:
        postgres.drop(name)


def test_keys_and_bundles_of_the_second_version_are_filled_in(postgres: Cluster) -> None:
    name = postgres.create(template="template0")
    url, a, b = postgres.url(name), "a" * 64, "b" * 64
    spec = f'{{"spec": {{"trial": {{"template": "mine@{a}", "dataset": {{"name": "x"}}}}}}}}'
    try:
        _at_version(url, "0002")
        postgres.sql(
            "INSERT INTO jobs (id, name, project, state, seq, token, created_at, updated_at, "
            "summary) VALUES ('j', 'n', 'p', 'FAILED', 0, 0, 1, 7, '{}')",
            f"INSERT INTO submissions VALUES ('j', '{spec}', '{{}}', "
            f"'{{\"code\": {{\"name\": \"lib\", \"sha256\": \"{b}\"}}}}')",
            "INSERT INTO submission_keys VALUES ('p', 'k', 'f', 'j')",
            "INSERT INTO submission_keys VALUES ('p', 'retry job_1', 'f', 'j')",
            *(
                "INSERT INTO bundles (project, kind, name, sha256, size, manifest, created_at) "
                f"VALUES ('p', '{kind}', '{named}', '{sha256}', 1, '{{}}', 1)"
                for kind, named, sha256 in
                (("template", "mine", a), ("code", "lib", b), ("code", "unnamed", b))
            ),
            database=name,
        )  # fmt: skip
        assert upgrade_database(url) == (2, schema.VERSION)
        assert check_database(url) == (schema.VERSION, [])
        keys = "SELECT key, expires_at FROM submission_keys ORDER BY key"
        assert postgres.sql(keys, database=name) == [("k", 86_401.0), ("retry job_1", None)]
        with open_database(url) as database:
            assert [one.name for one in database.unused_bundles(0.0)] == ["unnamed"]
            assert database.unused_bundles(60.0) == []
    finally:
        postgres.drop(name)


def _at_version(url: str, revision: str) -> None:
    from alembic import command

    from automata_svc.database.backends import open_engine
    from automata_svc.database.upgrade import _config

    engine, _ = open_engine(url, 5.0)
    with engine.begin() as connection:
        command.upgrade(_config(connection), revision)
    engine.dispose()


def test_upgrades_at_the_same_moment_make_the_tables_once(postgres: Cluster) -> None:
    name = postgres.create(template="template0")
    code = (
        "import sys; from automata_svc.database.upgrade import upgrade_database as u\n"
        "print(u(sys.argv[1])[0])"
    )
    try:
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", code, postgres.url(name)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        said = [one.communicate() for one in racers]
        now = str(schema.VERSION)
        assert sorted(out.strip() for out, _ in said) == [now, now, "None"], said
        assert check_database(postgres.url(name)) == (schema.VERSION, [])
    finally:
        postgres.drop(name)


def test_a_newer_database_is_not_touched(postgres: Cluster, postgres_url: str) -> None:
    postgres.sql("UPDATE automata_schema SET version = 99", database=name_of(postgres_url))
    for use in (open_database, upgrade_database):
        with pytest.raises(Unavailable, match="newer automata_svc .schema 99"):
            use(postgres_url)


def test_every_reason_that_it_cannot_be_opened_is_said_without_the_password(
    postgres: Cluster,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    secret = "hunter2-never-shown"
    cases = {
        postgres.url("postgres", password=secret): "password authentication failed",
        postgres.url("nowhere"): "database \"nowhere\" does not exist",
        postgres.url("x", password=secret, port=nobody): "is it running there?",
        f"postgresql+psycopg://{USER}:{secret}@no-such-host.invalid/x": "no-such-host.invalid",
        f"postgresql+psycopg://{USER}:{secret}@127.0.0.1:{postgres.port}/postgres?sslmode=require":
            "SSL",
    }  # fmt: skip
    for url, said in cases.items():
        with pytest.raises(Unavailable, match="(?s)^the database ") as caught:
            open_database(url)
        text = _all_of(caught.value)
        assert said in str(caught.value), str(caught.value)
        assert secret not in text and PASSWORD not in text


def _all_of(error: BaseException) -> str:
    """What a log may print of an error: its words, and those of what led to it."""
    import traceback

    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://{USER}:{PASSWORD}@host:notaport/x",
        f"postgresq://{USER}:{PASSWORD}@host/x",
        f"postgresql+asyncpg://{USER}:{PASSWORD}@host/x",
        f"{USER}:{PASSWORD}@host/x",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        open_database(url)
    assert PASSWORD not in str(caught.value)


def test_a_host_that_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        url = f"postgresql+psycopg://{USER}:x@127.0.0.1:{silent.getsockname()[1]}/x"
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="timeout"):
            open_database(url)
    assert time.monotonic() - begun < 30


def test_without_tables_the_command_line_says_what_to_run(postgres: Cluster) -> None:
    name = postgres.create(template="template0")
    url_file_env = {**os.environ, "AUTOMATA_DATABASE_URL": postgres.url(name)}

    def automata(*words: str) -> tuple[int, str]:
        run = subprocess.run(
            [sys.executable, "-m", "automata_svc.cli.main", *words],
            cwd=ROOT,
            env=url_file_env,
            capture_output=True,
            text=True,
        )
        assert PASSWORD not in run.stdout + run.stderr
        return run.returncode, run.stdout + run.stderr

    try:
        code, said = automata("ls")
        assert (code, "run `automata db upgrade`" in said) == (5, True)
        assert automata("db", "upgrade") == (0, f"made (schema {schema.VERSION})\n")
        assert automata("db", "check") == (0, f"up to date (schema {schema.VERSION})\n")
        assert automata("ls")[0] == 0
    finally:
        postgres.drop(name)


# ---- coming and going ---------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_restarts_lose_no_append_no_submission_and_double_none(
    postgres: Cluster, database: Database
) -> None:
    """Three drivers write, two clients submit, and the server is stopped or crashes four times."""
    stop = threading.Event()
    errors: list[BaseException] = []
    written: dict[str, list[str]] = {}
    acknowledged: list[str] = []
    outages = 0

    def guarded(work: object) -> threading.Thread:
        def run() -> None:
            try:
                work()  # type: ignore[operator]
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def drive() -> None:
        job = make(database)
        token = database.take_lease(job, "a", 3600)
        mine = written[job] = []
        while not stop.is_set():
            first = len(mine) + 1
            batch = [("x", f"{job}:{first + k}") for k in range(first % 3 + 1)]
            patiently(
                lambda batch=batch, first=first: database.append(  # type: ignore[misc]
                    job, token, batch, 1.0, trials=[row(first % 5)], first_seq=first
                ),
                60.0,
            )
            mine += [body for _, body in batch]

    def submit(client: int) -> None:
        nonlocal outages
        n = 0
        while not stop.is_set():
            n += 1
            while True:
                try:
                    made = make(database, idempotency=(f"{client}:{n}", "f"))
                except Replayed as again:
                    made = again.job_id
                except Unavailable:
                    outages += 1
                    time.sleep(0.05)
                    continue
                break
            acknowledged.append(made)

    threads = [guarded(drive) for _ in range(3)]
    threads += [guarded(lambda client=client: submit(client)) for client in range(2)]  # type: ignore[misc]
    for mode in ("fast", "immediate", "immediate", "fast"):
        time.sleep(0.7)
        postgres.restart(mode)
    time.sleep(0.7)
    stop.set()
    for thread in threads:
        thread.join(90)
    assert errors == []
    assert outages > 0
    for job, bodies in written.items():
        events = list(database.events(job))
        assert [one.body for one in events] == bodies
        assert database.get_head(job).seq == len(bodies) > 20
    stored = {head.id for head in database.list_jobs()} - written.keys()
    assert stored == set(acknowledged)
    assert len(acknowledged) == len(stored) > 20


def test_what_is_asked_while_it_is_away_can_be_asked_again(
    postgres: Cluster, database: Database
) -> None:
    job = make(database)
    token = database.take_lease(job, "a", 3600)
    database.append(job, token, [("x", "1")], at=1.0)
    postgres.stop()
    try:
        for ask in (
            database.ping,
            lambda: database.get_job(job),
            lambda: list(database.events(job)),
            lambda: database.append(job, token, [("x", "2")], at=1.0),
            lambda: database.renew(job, token, 60),
            lambda: make(database),
        ):
            for _ in range(2):
                with pytest.raises(Unavailable) as caught:
                    ask()
                assert PASSWORD not in _all_of(caught.value)
    finally:
        postgres.start()
    database.ping()
    assert database.append(job, token, [("x", "2")], at=1.0) == 2
    database.renew(job, token, 60)


def test_a_commit_whose_answer_is_lost_is_found_out_about(
    postgres: Cluster, postgres_url: str
) -> None:
    with wire_to(postgres.port) as wire:
        with open_database(postgres.url(name_of(postgres_url), port=wire.port)) as database:
            job = make(database)
            token = database.take_lease(job, "a", 3600)
            database.append(job, token, [("x", "1")], at=1.0, first_seq=1)
            # An append is one statement, and its own commit; a submission is several, and another.
            wire.cut_after = lambda data: b"INSERT INTO events" in data or b"COMMIT" in data
            with pytest.raises(Unavailable):
                database.append(job, token, [("x", "2"), ("x", "3")], at=1.0, first_seq=2)
            with pytest.raises(Unavailable):
                make(database, idempotency=("k", "f"))
            assert wire.cuts == 2
            wire.cut_after = lambda data: False
            assert database.get_head(job).seq == 3  # it was stored
            batch = [("x", "2"), ("x", "3")]
            assert database.append(job, token, batch, at=1.0, first_seq=2) == 2
            assert [one.body for one in database.events(job)] == ["1", "2", "3"]
            with pytest.raises(Replayed) as again:
                make(database, idempotency=("k", "f"))
            assert database.get_head(again.value.job_id).name == "a"


def test_a_wire_that_is_cut_before_the_commit_has_stored_nothing(
    postgres: Cluster, postgres_url: str
) -> None:
    with wire_to(postgres.port) as wire:
        with open_database(postgres.url(name_of(postgres_url), port=wire.port)) as database:
            job = make(database)
            token = database.take_lease(job, "a", 3600)
            wire.cut_after = lambda data: b"INSERT INTO events" in data
            with pytest.raises(Unavailable):  # what goes with more than events has a transaction
                database.append(job, token, [("x", "1")], at=1.0, artefacts=["a"], first_seq=1)
            assert wire.cuts == 1
            wire.cut_after = lambda data: False
            assert database.get_head(job).seq == 0
            assert database.append(job, token, [("x", "1")], at=1.0, first_seq=1) == 1


def test_what_a_driver_and_a_reader_do_most_is_one_way_to_the_server_and_back(
    postgres: Cluster, postgres_url: str
) -> None:
    sent: list[bytes] = []

    def listen(data: bytes) -> bool:
        sent.append(data)
        return False

    with wire_to(postgres.port) as wire:
        with open_database(postgres.url(name_of(postgres_url), port=wire.port)) as database:
            job = make(database)
            token = database.take_lease(job, "a", 3600)
            database.append(job, token, [("x", "1")], at=1.0, first_seq=1)
            database.get_head(job)  # by now there is a connection for each of the two
            wire.cut_after = listen
            database.append(job, token, [("x", "2")], 1.0, trials=[row(0)], first_seq=2)
            assert len(sent) == 1
            database.get_head(job)
            assert len(sent) == 2


def test_a_connection_that_the_server_has_closed_is_not_used_again(
    postgres: Cluster, database: Database
) -> None:
    for _ in range(3):
        job = make(database)
        postgres.restart()
        assert database.get_head(job).id == job  # at once: nothing has asked whether it lives


def test_a_text_that_is_too_long_for_its_column_is_refused_and_not_cut(database: Database) -> None:
    job = make(database)
    token = database.take_lease(job, "a", 60)
    for batch, rows in (
        ([("k" * 33, "{}")], []),
        ([("x", "{}")], [row(0, state="S" * 17)]),
    ):
        with pytest.raises(SpecError, match="too long"):
            database.append(job, token, batch, at=1.0, trials=rows)
    assert list(database.events(job)) == []


# ---- others -------------------------------------------------------------------------------------


def test_a_deadlock_is_resolved_and_what_was_undone_is_done_again(
    postgres_url: str, database: Database
) -> None:
    made = make(database, state="FAILED")
    token = database.take_lease(made, "a", 60)
    database.append(made, token, [("x", "{}")], 1.0, trials=[row(0)])
    dsn = postgres_url.replace("+psycopg", "")
    with psycopg.connect(dsn) as other, open_database(postgres_url) as fresh:
        # Ours looks for a circle after a second; this one never, so that ours is undone.
        other.execute("SET deadlock_timeout = '1h'")
        other.execute("SELECT 1 FROM trials WHERE job_id = %s FOR UPDATE", [made])
        thread = threading.Thread(target=fresh.delete_job, args=(made,))
        thread.start()
        time.sleep(0.3)  # it has the job's row now, and waits for the trial's
        other.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", [made])
        other.commit()
        thread.join(20)
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        found = other.execute(deadlocks).fetchone()
    assert found == (1,)
    assert [head.id for head in database.list_jobs()] == []


def test_a_row_that_somebody_holds_for_too_long_can_be_written_later(
    postgres_url: str, database: Database
) -> None:
    job = make(database)
    token = database.take_lease(job, "a", 60)
    dsn = postgres_url.replace("+psycopg", "")
    with psycopg.connect(dsn) as other, open_database(postgres_url, 0.2) as hurried:
        other.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", [job])
        with pytest.raises(Unavailable, match="another process has been writing for too long"):
            hurried.append(job, token, [("x", "1")], at=1.0)
        assert hurried.get_head(job).seq == 0  # readers wait for nobody
        other.rollback()
        assert hurried.append(job, token, [("x", "1")], at=1.0) == 1


def test_a_database_that_is_not_ours_to_write_says_so(postgres: Cluster, postgres_url: str) -> None:
    name = name_of(postgres_url)
    with open_database(postgres_url) as database:
        job = make(database)
    postgres.sql(
        "CREATE USER reader PASSWORD 'reads'", "GRANT SELECT ON ALL TABLES IN SCHEMA public "
        "TO reader", database=name,
    )  # fmt: skip
    try:
        url = f"postgresql+psycopg://reader:reads@127.0.0.1:{postgres.port}/{name}"
        with open_database(url) as database:
            assert database.get_head(job).id == job
            with pytest.raises(Unavailable, match="permission denied"):
                make(database)
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with open_database(postgres_url) as database:
            with pytest.raises(Unavailable, match="read-only transaction"):
                make(database)
    finally:
        writable = "SET default_transaction_read_only = off"
        postgres.sql(writable, "DROP OWNED BY reader", "DROP USER reader", database=name)


def test_more_threads_than_connections_wait_for_their_turn(database: Database) -> None:
    jobs = [make(database) for _ in range(60)]
    errors: list[AutomataError] = []

    def work(job: str) -> None:
        try:
            for _ in range(5):
                token = database.take_lease(job, "a", 0.0)
                database.append(job, token, [("x", "1")], at=1.0)
                database.get_job(job)
        except AutomataError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(database.last_seqs(jobs).values()) == {5}
