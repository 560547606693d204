"""`automata serve` where something is wrong: a sentence, an exit code, and nothing left running."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from automata_svc.cli.serving import PORT
from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
VERSION_1 = ROOT / "tests" / "database" / "schema_1.sql"


def serve(
    home: Path, *arguments: str, role: str = "api", env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "automata_svc.cli.main", "serve", "--role", role, *arguments],
        cwd=ROOT,
        env={**os.environ, "AUTOMATA_HOME": str(home), **(env or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def refused(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of a server that did not start, and the one sentence that it said."""
    out, err = process.communicate(timeout=45)
    assert out == "" and err.startswith("error: ") and "Traceback" not in err
    assert len(err.splitlines()) == 1, err
    return process.returncode, err


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield int(one.getsockname()[1])


@pytest.fixture
def usual_taken() -> Iterator[None]:
    """Somebody has the port that is taken by default."""
    with ExitStack() as stack:
        with suppress(OSError):  # it is taken already
            stack.enter_context(socket.create_server(("127.0.0.1", PORT)))
        yield


@pytest.mark.parametrize("role", ["api", "all"])
def test_a_port_in_use_is_said_before_anything_is_started(
    tmp_path: Path, taken: int, role: str
) -> None:
    code, said = refused(serve(tmp_path, "--port", str(taken), role=role))
    assert code == 4 and f"port {taken} of 127.0.0.1 is taken; name another: --port" in said
    assert not (tmp_path / "service" / "ray").exists()


def test_where_the_usual_port_is_taken_a_server_comes_back_on_the_one_it_had(
    tmp_path: Path, usual_taken: None
) -> None:
    said = []
    for _ in range(2):
        process = serve(tmp_path)
        assert process.stderr is not None and process.stdout is not None
        with process.stderr, process.stdout:
            said.append(process.stderr.readline())
            process.kill()
            process.wait()
    assert said[0].startswith("automata serves http://127.0.0.1:") and said[0] == said[1]


def test_an_address_of_another_machine_is_said(tmp_path: Path) -> None:
    code, said = refused(serve(tmp_path, "--host", "192.0.2.1", "--port", "0"))
    assert code == 5 and "192.0.2.1" in said and "--host" in said


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("nonsense", 2, "'nonsense' is no database URL"),
        ("mysql://u:hunter2@h/db", 2, "unknown kind of database 'mysql'; known: postgresql"),
        pytest.param(
            "postgresql://u:hunter2@127.0.0.1:1/db",
            5,
            "the database db on 127.0.0.1:1",
            marks=pytest.mark.real,  # the driver of PostgreSQL is installed for these
        ),
        ("sqlite://", 2, "a database in memory is lost"),
        ("sqlite:////etc/hostname/a.db", 5, "cannot make the folder of the database"),
    ],
)
def test_a_wrong_database_is_said_without_its_password(
    tmp_path: Path, url: str, code: int, words: str
) -> None:
    found, said = refused(serve(tmp_path, "--port", "0", env={"AUTOMATA_DATABASE_URL": url}))
    assert found == code and words in said and "hunter2" not in said


def test_a_store_of_no_known_kind_is_said(tmp_path: Path) -> None:
    code, said = refused(serve(tmp_path, "--port", "0", env={"AUTOMATA_STORE_URL": "ftp://x/y"}))
    assert code == 2 and "AUTOMATA_STORE_URL" in said and "unknown scheme 'ftp'" in said


@pytest.mark.parametrize("role", ["api", "controller"])
def test_a_home_that_cannot_be_written_is_said(tmp_path: Path, role: str) -> None:
    """A file in the place of a folder: what mode bits forbid, root may."""
    home = tmp_path / "home"
    home.write_text("not a folder")
    code, said = refused(serve(home, role=role))
    assert code == 5 and f"the home {home} cannot be used" in said and "AUTOMATA_HOME" in said


def old_home(folder: Path) -> Path:
    """A home with a database as the first version wrote it."""
    with sqlite3.connect(folder / "first.db") as connection:
        connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    connection.close()
    home = folder / "home"
    home.mkdir()
    shutil.copy(folder / "first.db", home / "automata.db")
    return home


def test_a_home_of_an_older_version_is_brought_up_to_date_and_served(tmp_path: Path) -> None:
    home = old_home(tmp_path)
    process = serve(home, "--port", "0")
    assert process.stderr is not None and process.stdout is not None
    with process.stderr, process.stdout:
        assert process.stderr.readline().startswith("automata serves http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    service = LocalService(Settings.from_env({"AUTOMATA_HOME": str(home)}))
    assert service.jobs()
    service.close()


def test_a_home_of_a_newer_version_is_left_alone_and_said(tmp_path: Path) -> None:
    home = old_home(tmp_path)
    with sqlite3.connect(home / "automata.db") as connection:
        connection.execute("UPDATE automata_schema SET version = 99")
    connection.close()
    code, said = refused(serve(home, "--port", "0"))
    assert code == 5 and "made by a newer automata_svc (schema 99" in said
