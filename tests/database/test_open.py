from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from automata_svc.database import open_database
from automata_svc.errors import SpecError, Unavailable

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_is_made_and_a_database_opens_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a' / 'b' / 'automata.db'}"
    with open_database(url) as database:
        job = database.create_job(name="a", spec="", plan="", template="", created_at=1.0)
    with open_database(url) as database:
        assert database.get_job(job).name == "a"


def test_sqlite_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "automata.db"
    with open_database(f"sqlite:///{path}") as database:
        with database._read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        database.create_job(name="a", spec="", plan="", template="", created_at=1.0)
        with database._read() as connection:  # a submission is synced harder, and only that
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "'nonsense' is no database URL, e.g. sqlite:////folder/automata.db"),
        ("mysql://host/db", "unknown kind of database 'mysql'; known: postgresql, sqlite"),
        (
            "postgresql+asyncpg://host/db",
            "'postgresql+asyncpg' is not supported; write postgresql+psycopg://",
        ),
        ("sqlite://", "a database in memory is lost with its process; name a file"),
        ("sqlite:///:memory:", "a database in memory is lost with its process; name a file"),
    ],
)
def test_a_url_that_we_cannot_use_says_why(url: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        open_database(url)
    assert str(caught.value) == f"AUTOMATA_DATABASE_URL: {said}"


def test_a_database_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'automata.db'}"
    open_database(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE automata_schema SET version = 99"))
    engine.dispose()
    with pytest.raises(
        Unavailable, match="made by a newer automata_svc .schema 99; this one knows"
    ):
        open_database(url)


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but long enough to be looked at " * 40)
    with pytest.raises(Unavailable, match=r"notes\.txt: file is not a database"):
        open_database(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database at all")


def test_a_folder_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable, match="cannot make the folder of the database"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'automata.db'}")
    with pytest.raises(Unavailable, match="cannot open the database"):
        open_database(f"sqlite:///{tmp_path}")


# Root may write anywhere, so what runs as root gives that up first.
UNPRIVILEGED = """
import os, sys
from automata_svc.database import open_database
from automata_svc.errors import Unavailable
open_database(sys.argv[2]).close()  # loads what an unprivileged user may not be able to read
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    open_database(sys.argv[1])
except Unavailable as error:
    print(error)
"""


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_that_is_read_only_says_so(exists: bool, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'automata.db'}"
        if exists:
            open_database(url).close()
            (folder / "automata.db").chmod(0o444)
        folder.chmod(0o555)
        other = f"sqlite:///{tmp_path / 'other.db'}"
        try:
            run = subprocess.run(
                [sys.executable, "-c", UNPRIVILEGED, url, other],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
        finally:
            folder.chmod(0o755)
        assert run.returncode == 0, run.stderr
        assert str(folder / "automata.db") in run.stdout
        assert "writable" in run.stdout


def test_a_write_that_waits_for_too_long_can_be_tried_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'automata.db'}"
    with open_database(url) as slow, open_database(url, busy_timeout_s=0.05) as hurried:
        job = slow.create_job(name="a", spec="", plan="", template="", created_at=1.0)
        token = hurried.take_lease(job, "a", 60)
        with slow._writing():
            with pytest.raises(Unavailable, match="another process has been writing for too long"):
                hurried.append(job, token, [("x", "1")], at=1.0)
        assert hurried.append(job, token, [("x", "1")], at=1.0) == 1


def test_a_full_disk_stores_nothing_by_halves_and_can_be_tried_again(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'automata.db'}") as database:
        job = database.create_job(name="a", spec="", plan="", template="", created_at=1.0)
        token = database.take_lease(job, "a", 60)

        def room(pages: int) -> None:
            with database._read() as connection:
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        database.append(job, token, [("x", "1")], at=1.0)
        database._drop_append_connection()  # so that it is the one in the pool that is limited
        room(1)  # as many as there are
        with pytest.raises(Unavailable, match="disk is full .make room and try again"):
            database.append(job, token, [("x", "y" * 5_000)] * 50, at=2.0)
        assert database.get_head(job).seq == 1
        room(1_000_000)
        assert database.append(job, token, [("x", "y" * 5_000)] * 50, at=2.0) == 2


def test_the_package_loads_sqlalchemy_only_when_a_database_is_opened() -> None:
    code = "import sys, automata_svc.database; print('sqlalchemy' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    assert run.stdout.strip() == "False"


def test_without_the_driver_of_postgresql_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["psycopg"] = None  # as where it is not installed
from automata_svc.database import open_database
from automata_svc.errors import SpecError
try:
    open_database("postgresql://user:hunter2@127.0.0.1:1/db")
except SpecError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    said = "PostgreSQL needs psycopg: pip install 'automata_svc[postgres]'"
    assert (run.stdout, run.stderr) == (f"AUTOMATA_DATABASE_URL: {said}\n", "")
