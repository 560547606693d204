"""`automata` as a user runs it: a process of its own, in a group of its own, in a folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings
from automata_svc.tuning.state import JobState

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "automata_svc.cli.main")
PATIENCE_S = 120.0


@dataclass
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def job(self) -> str:
        found = re.search(r"job_[0-9A-Z]{26}", self.err)
        assert found is not None, self.err
        return found.group()


@dataclass
class Automata:
    """One home; every process that it starts is ended with it."""

    home: Path
    folder: Path
    ray_folder: Path

    def __post_init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    @property
    def env(self) -> dict[str, str]:
        own = {
            "AUTOMATA_HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_TMPDIR": str(self.ray_folder),
        }
        return {**os.environ, **own}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command and returns at once."""
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> Said:
        return ended(self.start(*arguments))

    def service(self) -> LocalService:
        return LocalService(Settings.from_env(self.env))

    def finish(self, job: str) -> JobState:
        """Resumes a job in this process, which has torch loaded already."""
        service = self.service()
        try:
            return service.drive(job, None, "inprocess")
        finally:
            service.database.close()

    def until(self, process: subprocess.Popen[str], is_so: Callable[[LocalService], bool]) -> None:
        """Waits until the service shows something, or the process is over."""
        service = self.service()
        end = time.monotonic() + PATIENCE_S
        try:
            while process.poll() is None and not is_so(service):
                assert time.monotonic() < end, "it never came to that"
                time.sleep(0.005)
        finally:
            service.database.close()

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def ended(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=PATIENCE_S)
    return Said(process.returncode, out, err)


def kill(process: subprocess.Popen[str]) -> Said:
    """kill -9 of the whole process group."""
    os.killpg(process.pid, signal.SIGKILL)
    return ended(process)


def has_events(job: str, count: int) -> Callable[[LocalService], bool]:
    """More than `count` events are stored."""
    return lambda service: bool(service.events(job, after=count))
