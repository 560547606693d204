"""The service's own Ray on this machine: started, found again, and ended with all that it started.

Its processes outlive the service that started them, so that a service which is killed finds its
drivers at work when it comes back. Each of them carries a mark in its environment, or, where it has
written its name over that, writes to files in this Ray's own folder; nothing else is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from automata_svc.database.liveness import is_gone, process
from automata_svc.errors import AutomataError, Unavailable
from automata_svc.jobs.launch import DRIVER_RESOURCE, RayJobs
from automata_svc.jobs.tokens import write_secret
from automata_svc.tuning.runners.ray_settings import ENVIRONMENT

MARK = "AUTOMATA_SERVICE_RAY"
START_S = 120.0  # guess: it takes 4 to 10 s, more on a machine that is busy
MOST_DRIVERS = 20  # some 350 MB each with Ray's own process beside it (measured)
DASHBOARD_PORT = 8265  # where people expect it; another one where that is taken
STOP_WAIT_S = 20  # how long a driver that is asked to end may take before it is killed

# What of the service's environment its Ray inherits: no secret is among them.
INHERITED = frozenset(
    {
        "AUTOMATA_DATA_DIRS", "AUTOMATA_TEMPLATE_DIRS", "CUDA_VISIBLE_DEVICES", "HOME", "LANG",
        "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE",
        "TMPDIR", "TZ", "USER", "XDG_CACHE_HOME",
    }
)  # fmt: skip
INHERITED_PREFIXES = ("LC_", "MKL_", "NVIDIA_", "OMP_", "OPENBLAS_", "TORCH_")

# The processes without which a Ray is of no use, by what their command lines contain.
VITAL: Mapping[str, str] = MappingProxyType(
    {"gcs": "/gcs_server", "raylet": "/raylet/raylet", "dashboard": "/dashboard/dashboard.py"}
)


@dataclass(frozen=True)
class Place:
    """A Ray that was started, as it is remembered between two lives of a service."""

    mark: str
    dashboard: str  # http://127.0.0.1:port
    folder: str
    processes: Mapping[str, str]  # vital one → "host:pid:start"


class LocalRay:
    """At most one Ray for a home.

    Args:
        home: where `service/ray.json` remembers it and `service/ray-token` opens it (0600).
        service: as `RayJobs` takes it.
        environment: of the drivers; see `RayJobs`.
        cpus, gpus: to share out; None: what Ray finds.
        env: the service's own environment.
    """

    def __init__(
        self,
        home: Path,
        service: str,
        environment: Mapping[str, str],
        cpus: int | None = None,
        gpus: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._home = home
        self._folder = home / "service"
        self._service, self._environment = service, environment
        self._cpus, self._gpus = cpus, gpus
        self._env = os.environ if env is None else env
        self.place: Place | None = None

    def find(self) -> RayJobs | None:
        """The Ray of an earlier life of this service, where all of it still runs."""
        place = remembered(self._home)
        if place is None or not _lives(place):
            return None
        jobs = self._jobs(place)
        try:
            jobs.nodes()
        except Unavailable:
            jobs.close()
            return None
        self.place = place
        return jobs

    def start(self) -> RayJobs:
        """Starts one (seconds), after ending what is left of the one before.

        Raises:
            Unavailable: it does not start; says where Ray's own words are.
        """
        self.stop()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        token = self._folder / "ray-token"
        if not token.is_file():
            write_secret(token, secrets.token_hex(32))
        mark = secrets.token_hex(8)
        base = self._env.get("RAY_TMPDIR") or "/tmp"  # short: sockets lie far below it
        folder = tempfile.mkdtemp(prefix="a-", dir=base)
        dashboard = _free_port(DASHBOARD_PORT)
        place = Place(mark, f"http://127.0.0.1:{dashboard}", folder, {})
        _remember(self._folder / "ray.json", place)  # before anything runs that must be found again
        said = self._folder / "ray-start.txt"
        with said.open("wb") as output:
            try:
                run = subprocess.run(
                    self._command(folder, dashboard),
                    env=self._clean_env(mark, token),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=START_S,
                    start_new_session=True,
                    cwd=self._folder,
                    check=False,
                )
                code: int | str = run.returncode
            except subprocess.TimeoutExpired:
                code = f"not within {START_S:g} s"
        if code != 0:
            self.stop()
            raise Unavailable(f"the service's Ray does not start ({code}); see {said}")
        place = Place(mark, place.dashboard, folder, _vital(place))
        _remember(self._folder / "ray.json", place)
        jobs = self._jobs(place)
        self._await(jobs, place, said)
        self.place = place
        return jobs

    def is_alive(self) -> bool:
        """Whether every vital process of it runs; asks the system only."""
        return self.place is not None and _lives(self.place)

    def stop(self) -> None:
        """Kills all that is left of it, drivers and workers too; harmless where nothing is."""
        place = self.place or remembered(self._home)
        self.place = None
        if place is None:
            return
        for _ in range(50):  # what is just being forked is met in the next round
            pids = [one.pid for one in processes_of(place)]
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        shutil.rmtree(place.folder, ignore_errors=True)
        (self._folder / "ray.json").unlink(missing_ok=True)

    def _jobs(self, place: Place) -> RayJobs:
        token = (self._folder / "ray-token").read_text(encoding="utf-8").strip()
        return RayJobs(
            place.dashboard, self._service, token, self._environment, python=sys.executable
        )

    def _command(self, folder: str, dashboard: int) -> list[str]:
        ports = {f"--{name}": str(_free_port()) for name in _PORTS}
        command = [
            sys.executable, "-m", "automata_svc.tuning.runners.ray_head", "start", "--head",
            "--disable-usage-stats", "--dashboard-host", "127.0.0.1",
            # Ray lets everybody write to its folder, sockets and all; nobody else gets into ours.
            "--dashboard-port", str(dashboard), "--temp-dir", f"{folder}/r",
            "--resources", json.dumps({DRIVER_RESOURCE: MOST_DRIVERS}),
            "--num-cpus", str(self._cpus or _own_cpus()),
        ]  # fmt: skip
        if self._gpus is not None:
            command += ["--num-gpus", str(self._gpus)]
        return [*command, *(word for pair in ports.items() for word in pair)]

    def _clean_env(self, mark: str, token: Path) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self._env.items()
            if name in INHERITED or name.startswith(INHERITED_PREFIXES)
        }
        # Ray looks for the `python` of a job on the path of its head.
        path = os.pathsep.join([str(Path(sys.executable).parent), self._env.get("PATH", "")])
        return {
            **kept,
            **ENVIRONMENT,
            "PATH": path,
            "AUTOMATA_HOME": str(self._home),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
            "RUNTIME_ENV_RETRY_TIMES": "1",  # of an install: minutes each; pip tries on by itself
            MARK: mark,
        }

    def _await(self, jobs: RayJobs, place: Place, said: Path) -> None:
        deadline = time.monotonic() + START_S
        error = "it has no node"
        while time.monotonic() < deadline and _lives(place):
            try:
                if jobs.nodes():
                    return
            except Unavailable as away:
                error = str(away)
            time.sleep(0.2)
        jobs.close()
        self.stop()
        raise Unavailable(f"the service's Ray does not start: {error}; see {said}")


# Those that a second Ray on the machine would want too.
_PORTS = ("port", "ray-client-server-port", "dashboard-agent-listen-port", "metrics-export-port")


def _own_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_port(wanted: int = 0) -> int:
    for port in (wanted, 0):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(trial.getsockname()[1])
    raise AutomataError("no port is free on 127.0.0.1")


def _remember(path: Path, place: Place) -> None:
    half = path.with_suffix(".new")
    half.write_text(json.dumps(asdict(place)), encoding="utf-8")
    half.replace(path)


def remembered(home: Path) -> Place | None:
    """The Ray that a home's service has started last; None: it has ended it."""
    try:
        body = json.loads((home / "service" / "ray.json").read_text(encoding="utf-8"))
        return Place(body["mark"], body["dashboard"], body["folder"], dict(body["processes"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


# ---- processes ----------------------------------------------------------------------------------


class Process(NamedTuple):
    pid: int
    command: str


def processes_of(place: Place) -> Iterator[Process]:
    """Every process of a Ray, as they are now."""
    wanted = f"{MARK}={place.mark}"
    if not Path("/proc/self/environ").exists():
        yield from _listed_by_ps(wanted)
        return
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if _is_marked(folder, wanted) or _has_open(folder, place.folder):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                yield Process(int(folder.name), command.decode("utf-8", "replace"))


def _lives(place: Place) -> bool:
    return set(place.processes) == set(VITAL) and not any(
        is_gone(process) for process in place.processes.values()
    )


def _vital(place: Place) -> dict[str, str]:
    return {
        name: process(one.pid)
        for one in processes_of(place)
        for name, part in VITAL.items()
        if part in one.command
    }


def _is_marked(process: Path, wanted: str) -> bool:
    return wanted.encode() in (process / "environ").read_bytes().split(b"\0")


def _has_open(process: Path, folder: str) -> bool:
    """Whether a process writes to a file below a folder, which may be deleted already."""
    for link in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            writes = link.lstat().st_mode & stat.S_IWUSR
            if writes and os.readlink(link).startswith(folder + "/"):
                return True
    return False


def _listed_by_ps(wanted: str) -> Iterator[Process]:
    listed = subprocess.run(
        ["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        if wanted in command.split() and pid.isdecimal():
            yield Process(int(pid), command)
