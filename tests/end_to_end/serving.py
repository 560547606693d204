"""`automata serve` as a process, and every process of it by name: for killing them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from automata_svc.jobs.local import LocalService
from automata_svc.jobs.local_ray import LocalRay, processes_of, remembered
from automata_svc.settings import Settings
from automata_svc.tuning.state import JOB_ENDS
from tests.end_to_end.conftest import at_any_parallelism
from tests.end_to_end.process import COMMAND, PATIENCE_S, ROOT
from tests.jobs.build import job_text, trial
from tests.tuning.test_crash import outcome

TEMPLATE = ROOT / "trial_templates" / "tabular_mlp.py"
SLOW = "slow_mlp"  # the same, slow enough to be killed at work


def slow_template(folder: Path, seconds_a_pass: float) -> None:
    """`tabular_mlp` with a pause in each pass, which changes nothing else."""
    text = TEMPLATE.read_text()
    head, body = text.split("    for _ in trial.passes(", 1)
    first, rest = body.split("\n", 1)
    pause = f"        __import__('time').sleep({seconds_a_pass})\n        print('a pass')\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{SLOW}.py").write_text(f"{head}    for _ in trial.passes({first}\n{pause}{rest}")


def slow_job(name: str = "slow", **spec: Any) -> str:
    """The small job on the slow template."""
    return job_text(name, trial=trial(template=SLOW), **spec)


@dataclass
class Served:
    """One home with a server that is killed and started again; all of it ends with `close`."""

    home: Path
    ray_folder: Path
    cpus: int = 2
    seconds_a_pass: float = 0.1
    arguments: tuple[str, ...] = ()
    is_split: bool = False  # the API and the controller are processes of their own
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.slow_down(self.seconds_a_pass)

    def slow_down(self, seconds_a_pass: float) -> None:
        """How long a pass of `slow_job` takes, for jobs submitted from now on."""
        slow_template(self.home / "templates", seconds_a_pass)

    @property
    def env(self) -> dict[str, str]:
        own = {
            "AUTOMATA_HOME": str(self.home),
            "AUTOMATA_TEMPLATE_DIRS": str(self.home / "templates"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_TMPDIR": str(self.ray_folder),
        }
        return {**os.environ, **own}

    # ---- the server -----------------------------------------------------------------------------

    @property
    def roles(self) -> tuple[str, ...]:
        """Processes that serve: one, or the API and the controller each on its own."""
        return ("api", "controller") if self.is_split else ("all",)

    def start(self) -> None:
        """Starts what does not run, and waits until it answers."""
        for role in self.roles:
            if role not in self._processes or self._processes[role].poll() is not None:
                self._processes[role] = self._start(role)
        self.until(self.is_ready, "the server answers")

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        options = ("--role", role, "--port", "0", "--cpus", str(self.cpus), *self.arguments)
        with (self.home / "served.txt").open("ab") as words:
            return subprocess.Popen(
                [*COMMAND, "serve", *options],
                env=self.env,
                stdout=subprocess.DEVNULL,
                stderr=words,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        for process in self._processes.values():
            assert process.poll() is None, (self.home / "served.txt").read_text()
        with contextlib.suppress(OSError, httpx.HTTPError, ValueError):
            return bool(self.ask("GET", "/readyz").status_code == 200)
        return False

    def kill_server(self, role: str = "all") -> None:
        """kill -9; drivers, workers and Ray go on."""
        self._processes[role].kill()
        self._processes[role].wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        codes = []
        for process in self._processes.values():
            process.terminate()
            codes.append(process.wait(PATIENCE_S))
        return max(codes)

    def close(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        LocalRay(self.home, "", {}).stop()

    # ---- asking it ------------------------------------------------------------------------------

    def ask(self, method: str, path: str, text: str | None = None) -> httpx.Response:
        url = (self.home / "service" / "url").read_text().strip()
        token = (self.home / "service" / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if method == "PATCH":
            headers["If-Match"] = "*"
        return httpx.request(method, url + path, content=text, headers=headers, timeout=30)

    def submit(self, text: str) -> str:
        answer = self.ask("POST", "/v1/jobs", text)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/v1/jobs/{job}").json()
        return found

    @contextlib.contextmanager
    def service(self) -> Iterator[LocalService]:
        """The same database and store, without the server."""
        one = LocalService(Settings.from_env(self.env))
        try:
            yield one
        finally:
            one.database.close()

    def seq(self, job: str) -> int:
        with self.service() as service:
            return service.database.get_head(job).seq

    def state(self, job: str) -> str:
        with self.service() as service:
            return service.database.get_head(job).state

    def until(self, is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        end = time.monotonic() + patience_s
        while not is_so():
            assert time.monotonic() < end, f"it never came to that: {what}\n{self.words()}"
            time.sleep(0.05)

    def until_over(self, *jobs: str, patience_s: float = PATIENCE_S) -> None:
        self.until(lambda: all(self.state(j) in JOB_ENDS for j in jobs), "all are over", patience_s)

    def words(self) -> str:
        """What the server and the drivers said: for a test that fails."""
        said = [(self.home / "served.txt").read_text()[-4000:]]
        for file in sorted((self.home / "blobs" / "logs").rglob("driver/*.txt")):
            said.append(f"-- {file.name}\n{file.read_text()[-2000:]}")
        with self.service() as service:
            said += [
                f"{h.id} {h.state} {h.summary} {h.waiting}" for h in service.database.list_jobs()
            ]
        return "\n".join(said)

    # ---- its processes --------------------------------------------------------------------------

    def processes(self) -> Iterator[tuple[int, str]]:
        """Of its Ray: pid and command line."""
        place = remembered(self.home)
        return iter(()) if place is None else processes_of(place)

    def drivers(self) -> list[int]:
        return [
            pid for pid, command in self.processes()
            if "automata_svc.driver --job" in command and not command.startswith("/bin/sh")
        ]  # fmt: skip

    def workers(self) -> list[int]:
        return [pid for pid, command in self.processes() if command.startswith("ray::SegmentT")]

    def rays(self) -> list[int]:
        """The processes that a Ray cannot do without."""
        parts = ("/gcs_server", "/raylet/raylet", "/dashboard/dashboard.py")
        return [pid for pid, command in self.processes() if any(part in command for part in parts)]

    def kill(self, kind: str, rng: random.Random) -> bool:
        """kill -9 of one process of a kind; whether there was one."""
        if kind in ("all", *self.roles):
            self.kill_server(kind)
            return True
        pids = {"driver": self.drivers, "worker": self.workers, "ray": self.rays}[kind]()
        if not pids:
            return False
        try:
            os.kill(rng.choice(sorted(pids)), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def ended_as(served: Served, job: str) -> dict[str, Any]:
    """Proposals, decisions and winner of a job, after checking that its log replays."""
    with served.service() as service:
        state = service.state(job)
        assert state.state == "SUCCEEDED", f"{state.move}\n{served.words()}"
        assert service.replay(job) == []
        return at_any_parallelism(outcome(state))
