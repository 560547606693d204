"""`automata logs -f` beside a server that is killed and comes back: every line, and each once."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO

import httpx
import pytest

from automata_svc.jobs.local import LocalService
from automata_svc.jobs.logs import LogWriter
from tests.end_to_end.process import PATIENCE_S, Automata, ended, kill
from tests.jobs.build import job_text

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def service(automata: Automata) -> Iterator[LocalService]:
    one = automata.service()
    yield one
    one.close()


class Printing:
    """Numbered lines, as a driver writes them, until it is told to stop."""

    def __init__(self, service: LocalService, job: str) -> None:
        self.lines: list[str] = []
        self._writer = LogWriter(service.store, job, 1, flush_s=0.05)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()

    def _print(self) -> None:
        while not self._over.wait(0.005):
            self.lines.append(f"line {len(self.lines)}")
            head, tail = self.lines[-1][:3], self.lines[-1][3:]
            self._writer.write(None, head)
            self._writer.write(None, tail + "\n")

    def stop(self) -> list[str]:
        self._over.set()
        self._thread.join()
        self._writer.write(None, "the last line")  # without its end, after the job's own
        self._writer.close()
        return [*self.lines, "the last line"]


class Reading:
    """What a command prints, line by line while it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: IO[str] | None, into: list[str]) -> None:
        assert stream is not None
        with stream:
            for line in stream:
                into.append(line.rstrip("\n"))

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert self.process.poll() is None and time.monotonic() < end, f"{what}: {self.err}"
            time.sleep(0.02)

    def count(self, text: str) -> int:
        """Lines on stderr with it."""
        return sum(text in line for line in self.err)

    def until_said(self, text: str, times: int) -> None:
        self.until(lambda: self.count(text) == times, f"'{text}', {times} times")

    def grows(self) -> None:
        """Waits for lines that are not there yet."""
        before = len(self.out)
        self.until(lambda: len(self.out) > before + 20, "more lines")

    def end(self) -> int:
        code = self.process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(10)
        return code


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def serve(automata: Automata, port: int) -> subprocess.Popen[str]:
    """The API alone: it shows logs, and needs no Ray."""
    process = automata.start("serve", "--role", "api", "--port", str(port))
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process
        assert process.poll() is None, ended(process).err
        assert time.monotonic() < end, "the server never answered"
        time.sleep(0.05)


def test_a_log_is_followed_through_a_server_that_is_killed_and_restarted(
    automata: Automata, service: LocalService
) -> None:
    port = free_port()
    server = serve(automata, port)
    job = service.submit(job_text("talks"), "job.yaml")
    printing = Printing(service, job)
    reading = Reading(automata.start("logs", job, "-f", "--server", f"http://127.0.0.1:{port}"))
    reading.grows()
    for times in (1, 2):
        kill(server)
        reading.until_said("waiting for it", times)
        server = serve(automata, port)
        reading.grows()
    service.stop(job)
    lines = printing.stop()
    assert reading.end() == 0
    assert reading.out == lines
    assert reading.count("waiting for it") == reading.count("the server is back") == 2


@pytest.mark.parametrize("place", ["local", "served"])
def test_ctrl_c_ends_following_and_leaves_the_job_as_it_is(
    automata: Automata, service: LocalService, place: str
) -> None:
    where = ["--local"]
    if place == "served":
        port = free_port()
        serve(automata, port)
        where = ["--server", f"http://127.0.0.1:{port}"]
    job = service.submit(job_text("talks"), "job.yaml")
    printing = Printing(service, job)
    reading = Reading(automata.start("logs", job, "-f", *where))
    reading.grows()
    reading.process.send_signal(signal.SIGINT)
    assert reading.end() == 130
    assert not any("Traceback" in line for line in reading.err)
    assert reading.out == printing.stop()[: len(reading.out)]
    assert service.find(job).state == "QUEUED"


def test_a_log_here_is_followed_to_its_last_line(automata: Automata, service: LocalService) -> None:
    """Files that a command line's driver writes: a line is shown once, when it is whole."""
    job = service.submit(job_text("talks"), "job.yaml")
    file = automata.home / "logs" / job / "trial-0.txt"
    file.parent.mkdir(parents=True)
    reading = Reading(automata.start("logs", job, "--trial", "0", "-f", "--local"))
    lines = [f"line {n}" for n in range(300)]
    with file.open("a") as out:
        for line in lines:
            for part in (line[:3], line[3:], "\n"):
                out.write(part)
                out.flush()
                time.sleep(0.003)
        out.write("the last line")
    reading.until(lambda: len(reading.out) == len(lines), "all but the last")
    service.stop(job)
    assert reading.end() == 0
    assert reading.out == [*lines, "the last line"]
