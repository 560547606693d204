"""Databases that older versions left behind, and what brings them up to date."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from automata_svc.cli.commands import cli
from automata_svc.database import BundleRow, open_database, schema
from automata_svc.database.upgrade import (
    MIGRATIONS,
    check_database,
    revision_of,
)
from automata_svc.errors import Unavailable
from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
VERSION_1 = ROOT / "tests" / "database" / "schema_1.sql"
FINISHED, INTERRUPTED = "job_01M88RNWVKWA0JX5S5S92JQG4Y", "job_01M88RP0C40QHEM482YNPX5VM7"


@pytest.fixture(scope="module")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the first version wrote it."""
    path = tmp_path_factory.mktemp("old") / "automata.db"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    connection.close()
    return path


@pytest.fixture
def old(first_version: Path, home: Settings) -> Settings:
    """A home with a copy of it."""
    shutil.copy(first_version, home.home / "automata.db")
    return home


def columns(path: Path) -> dict[str, list[tuple[str, str, int]]]:
    """Each table's columns by name, type and whether they must be filled; and the indexes."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY name")
    found = {
        name: sorted(
            (row[1], row[2], row[3])
            for row in connection.execute(
                f"PRAGMA {'table_info' if kind == 'table' else 'index_info'}('{name}')"
            )
        ) if kind == "table" else [(table, "", 0)]
        for kind, name, table in rows.fetchall()
    }  # fmt: skip
    connection.close()
    return found


def test_a_database_of_the_first_version_is_brought_up_to_date_when_it_is_opened(
    old: Settings, tmp_path: Path
) -> None:
    assert check_database(old.database_url)[0] == 1
    open_database(old.database_url).close()
    assert check_database(old.database_url) == (schema.VERSION, [])
    fresh = tmp_path / "fresh.db"
    open_database(f"sqlite:///{fresh}").close()
    assert columns(old.home / "automata.db") == columns(fresh)


def test_nothing_of_it_is_lost_and_what_is_new_is_filled(old: Settings) -> None:
    before = sqlite3.connect(old.home / "automata.db")
    events = before.execute("SELECT job_id, seq, at, kind, body FROM events ORDER BY 1, 2")
    kept = events.fetchall()
    before.close()
    with open_database(old.database_url) as database:
        found = [(job, *event) for job in (FINISHED, INTERRUPTED) for event in database.events(job)]
        assert found == kept
        finished, interrupted = database.get_head(FINISHED), database.get_head(INTERRUPTED)
        assert (finished.state, finished.ended_at) == ("SUCCEEDED", finished.updated_at)
        assert (interrupted.state, interrupted.ended_at) == ("RUNNING", None)
        assert (finished.driver, finished.queue, finished.revision) == ("cli", "default", 1)
        about = [event.seq for event in database.events(FINISHED, trial=1)]
        assert len(about) > 5
        assert about == [seq for _, seq, _, _, body in kept if body.startswith('{"trial":1,')]


SECOND_VERSION = """
DROP TABLE totals;
DROP INDEX submission_keys_by_end; ALTER TABLE submission_keys DROP COLUMN expires_at;
DROP TABLE IF EXISTS totals; DROP TABLE bundle_uses; ALTER TABLE bundles DROP COLUMN used_at;
UPDATE automata_schema SET version = 2; UPDATE alembic_version SET version_num = '0002';
"""


@pytest.fixture
def second(home: Settings) -> Settings:
    """A home as the second version left it: a job that names bundles, and its retry."""
    text, data, code = (64 * digit for digit in "abc")
    trial = {"template": f"mine@{text}", "dataset": {"name": f"rows.v1@{data}"}}
    with open_database(home.database_url) as database:
        for kind, name, sha256 in (
            ("template", "mine", text), ("dataset", "rows.v1", data), ("code", "lib", code),
            ("code", "unnamed", code),
        ):  # fmt: skip
            database.add_bundle(BundleRow("p", kind, name, sha256, 1, "{}", 5.0, None))
        for job, key in (("job_1", "k"), ("job_2", "retry job_1")):
            database.create_job(
                name="a", plan="", created_at=5.0, project="p", job_id=job, idempotency=(key, "f"),
                spec=json.dumps({"spec": {"trial": trial}}),
                template=json.dumps({"code": {"name": "lib", "sha256": code}}),
            )  # fmt: skip
    connection = sqlite3.connect(home.home / "automata.db")
    connection.executescript(SECOND_VERSION)
    connection.close()
    return home


def test_keys_of_the_second_version_last_a_day_from_their_submission(second: Settings) -> None:
    open_database(second.database_url).close()
    connection = sqlite3.connect(second.home / "automata.db")
    found = connection.execute("SELECT key, expires_at FROM submission_keys ORDER BY key")
    assert found.fetchall() == [("k", 86_405.0), ("retry job_1", None)]
    connection.close()
    assert check_database(second.database_url) == (schema.VERSION, [])


def test_bundles_that_jobs_of_the_second_version_name_stay(second: Settings) -> None:
    with open_database(second.database_url) as database:
        assert [one.name for one in database.unused_bundles(0.0)] == ["unnamed"]
        assert database.unused_bundles(60.0) == []  # as if pushed at the upgrade


def test_its_jobs_that_are_over_are_in_the_totals(old: Settings) -> None:
    with open_database(old.database_url) as database:
        over, live = database.counted()
        heads = database.list_jobs()
    ended = [head for head in heads if head.ended_at is not None]
    assert ended and len(live) == len(heads) - len(ended)
    for name in ("jobs", "jobs_submitted"):
        assert sum(one.value for one in over if one.name == name) == len(ended)
    assert {one.labels["project"] for one in over if one.name == "jobs_submitted"} == {
        head.project for head in ended
    }


def test_its_finished_job_is_read_and_its_interrupted_one_goes_on(old: Settings) -> None:
    service = LocalService(old)
    with service.database:
        assert service.state(FINISHED).state == "SUCCEEDED"
        assert service.find(FINISHED).summary["best"]["trial"] == 1
        state = service.drive(INTERRUPTED, None, "inprocess")
        assert state.state == "SUCCEEDED"
        assert state.result is not None
        # The two are the same search; what was decided before the upgrade stands.
        other = service.state(FINISHED)
        assert [t.params for t in state.trials] == [t.params for t in other.trials]
        assert state.result.trial == other.result.trial if other.result else False
        rows = service.database.trials(INTERRUPTED)
        assert [row.number for row in rows] == [0, 1]


def test_an_upgrade_that_fails_changes_nothing(old: Settings, monkeypatch) -> None:
    from automata_svc.database import upgrade

    path = old.home / "automata.db"
    tables = columns(path)
    # The migrations do not know the version that the code asks for.
    monkeypatch.setattr(upgrade.schema, "VERSION", 9_999)
    with pytest.raises(Exception, match="9999"):
        open_database(old.database_url)
    assert columns(path) == tables


def test_processes_that_open_it_at_once_upgrade_it_once(old: Settings) -> None:
    code = "import sys; from automata_svc.database import open_database as o; o(sys.argv[1])"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, old.database_url], cwd=ROOT, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    errors = [one.communicate()[1].decode() for one in racers]
    assert [one.returncode for one in racers] == [0, 0, 0], errors
    assert check_database(old.database_url) == (schema.VERSION, [])


def test_threads_that_open_it_at_once_upgrade_it_once(old: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        for opened in pool.map(open_database, [old.database_url] * 4):
            opened.close()
    assert check_database(old.database_url) == (schema.VERSION, [])


def test_what_is_up_to_date_or_new_is_opened_without_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from automata_svc.database import open_database as o\n"
        "o(sys.argv[1]).close(); o(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'new.db'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "False"


def test_the_last_migration_makes_the_version_of_the_tables() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [revision_of(schema.VERSION)]
    revisions = [one.revision for one in scripts.walk_revisions()]
    assert revisions == [revision_of(n) for n in range(schema.VERSION, 0, -1)]


# ---- automata db --------------------------------------------------------------------------------


def run(*words: str, exit_code: int = 0) -> str:
    """What a command says."""
    result = CliRunner().invoke(cli, ["db", *words])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_db_check_says_that_an_upgrade_is_due_and_db_upgrade_makes_it(old: Settings) -> None:
    assert f"schema 1, this version needs {schema.VERSION}: run `automata db upgrade`" in run(
        "check", exit_code=1
    )
    assert f"schema 1 → {schema.VERSION}" in run("upgrade")
    assert f"up to date (schema {schema.VERSION})" in run("check")
    assert f"up to date already (schema {schema.VERSION})" in run("upgrade")


def test_db_check_says_that_there_is_nothing_yet(home: Settings) -> None:
    assert "no tables of ours yet: run `automata db upgrade`" in run("check", exit_code=1)
    assert f"made (schema {schema.VERSION})" in run("upgrade")
    assert f"up to date (schema {schema.VERSION})" in run("check")


def test_db_check_names_what_somebody_else_has_changed(home: Settings) -> None:
    open_database(home.database_url).close()
    engine = create_engine(home.database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN colour TEXT"))
        connection.execute(text("DROP INDEX jobs_by_time"))
    engine.dispose()
    said = run("check", exit_code=1)
    assert "remove_column jobs colour" in said
    assert "add_index jobs_by_time" in said


def test_db_upgrade_touches_nothing_newer(home: Settings) -> None:
    open_database(home.database_url).close()
    engine = create_engine(home.database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE automata_schema SET version = 99"))
    engine.dispose()
    assert "newer automata_svc (schema 99" in run("upgrade", exit_code=5)
    assert "newer automata_svc (schema 99" in run("check", exit_code=5)
    with pytest.raises(Unavailable, match="schema 99"):
        open_database(home.database_url)
