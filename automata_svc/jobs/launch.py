"""Drivers as Ray Jobs: started, looked at and stopped through the REST API of Ray's dashboard.

A driver stands in the Ray dashboard under `<job>-a<attempt>`, with the job's name and project.
Nothing secret is in its command, its environment or its metadata: all of them can be read there.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from automata_svc.errors import AutomataError, Unavailable

if TYPE_CHECKING:
    import httpx

# Guess; to submit takes Ray .03 to 1.3 s (measured). Together less than is left of a controller's
# lease at any time: while it waits for an answer no other one is to take over.
CONNECT_S, ANSWER_S = 2.0, 12.0
DRIVER_RESOURCE = "automata_driver"  # what a node offers that takes drivers, one for each
DRIVER_CPUS = 1.0  # where no node does
OVER = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
_ID = re.compile(r"(job_[0-9A-Z]{26})-a(\d+)")


class Node(NamedTuple):
    """What one machine of the cluster has in all."""

    cpus: float
    gpus: float
    drivers: float  # how many it takes, where it says so


@dataclass(frozen=True)
class Order:
    """A driver to be started."""

    id: str  # of the driver
    job: str
    attempt: int
    name: str
    project: str
    recycle_after: int | None = None  # None: the driver's own default
    pip: tuple[str, ...] = ()  # what Ray installs for the job's workers

    @classmethod
    def of(cls, job: str, attempt: int, **more: Any) -> Order:
        return cls(id=driver_id(job, attempt), job=job, attempt=attempt, **more)


class Word(NamedTuple):
    """What Ray says of a driver."""

    id: str
    status: str  # PENDING, RUNNING, or one of OVER
    message: str  # why it is over

    @property
    def is_over(self) -> bool:
        return self.status in OVER


class Launcher(Protocol):
    """Where drivers run. Every method raises Unavailable where that cannot be reached."""

    def submit(self, order: Order) -> None:
        """Starts a driver; one of that id that is there already is left alone."""
        ...

    def look(self, driver: str) -> Word | None:
        """None: it knows no such driver."""
        ...

    def stop(self, driver: str) -> None:
        """Asks it to end (SIGTERM), and ends it where it does not; returns at once."""
        ...

    def logs(self, driver: str) -> str:
        """What it has printed, "" where nothing is known."""
        ...

    def drivers(self) -> Sequence[Word]:
        """Those of this service that are not over."""
        ...

    def nodes(self) -> Sequence[Node]:
        """The machines that are there now."""
        ...


def driver_id(job: str, attempt: int) -> str:
    return f"{job}-a{attempt}"


def job_of(driver: str) -> str | None:
    """The job that a driver's id belongs to; None: it is none of ours."""
    found = _ID.fullmatch(driver)
    return None if found is None else found[1]


@dataclass
class RayJobs:
    """Ray's Jobs API at `address`, e.g. http://127.0.0.1:8265.

    Args:
        service: told apart by it where several services share a cluster; not a secret.
        token: of Ray; None: it asks for none.
        environment: of each driver, besides what its node gives it; visible to all who see the
            dashboard.
        python: what runs on the cluster's nodes.
    """

    address: str
    service: str
    token: str | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = "python"
    _client: httpx.Client | None = field(default=None, repr=False)

    def submit(self, order: Order) -> None:
        body: dict[str, Any] = {
            "entrypoint": self._command(order),
            "submission_id": order.id,
            "metadata": {
                "job": order.job,
                "name": order.name,
                "project": order.project,
                "attempt": str(order.attempt),
                "service": self.service,
            },
        }
        if order.pip:
            body["runtime_env"] = {"pip": list(order.pip)}
        if any(node.drivers >= 1 for node in self.nodes()):
            body["entrypoint_resources"] = {DRIVER_RESOURCE: 1}
        else:  # without any resources it would run on the head
            body["entrypoint_num_cpus"] = DRIVER_CPUS
        answer = self._ask("POST", "/api/jobs/", json=body)
        if answer.status_code == 200 or self.look(order.id) is not None:
            return  # else it is there already, and says so as an error of its own
        raise Unavailable(f"Ray at {self.address} does not start {order.id}: {_said(answer)}")

    def look(self, driver: str) -> Word | None:
        answer = self._ask("GET", f"/api/jobs/{driver}")
        if answer.status_code == 404:
            return None
        return _word(self._read(answer))

    def stop(self, driver: str) -> None:
        answer = self._ask("POST", f"/api/jobs/{driver}/stop")
        if answer.status_code not in (200, 404):
            self._read(answer)

    def logs(self, driver: str) -> str:
        answer = self._ask("GET", f"/api/jobs/{driver}/logs")
        if answer.status_code != 200:
            return ""
        return str(self._read(answer).get("logs") or "")

    def drivers(self) -> Sequence[Word]:
        found = self._read(self._ask("GET", "/api/jobs/"))
        ours = (one for one in found if (one.get("metadata") or {}).get("service") == self.service)
        return [word for one in ours if not (word := _word(one)).is_over]

    def nodes(self) -> Sequence[Node]:
        answer = self._ask("GET", "/api/v0/nodes", params={"detail": "1", "limit": "10000"})
        listed = self._read(answer)["data"]["result"]["result"]
        return [
            Node(
                float(one["resources_total"].get("CPU", 0)),
                float(one["resources_total"].get("GPU", 0)),
                float(one["resources_total"].get(DRIVER_RESOURCE, 0)),
            )
            for one in listed
            if one["state"] == "ALIVE"
        ]

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _command(self, order: Order) -> str:
        words = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        words += ["exec", shlex.quote(self.python), "-m", "automata_svc.driver"]
        words += ["--job", order.job, "--attempt", str(order.attempt)]
        if order.recycle_after is not None:
            words += ["--recycle-after", str(order.recycle_after)]
        return " ".join(words)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        import httpx

        if self._client is None:
            headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
            self._client = httpx.Client(
                base_url=self.address,
                headers=headers,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                trust_env=False,
            )
        try:
            return self._client.request(method, path, **more)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Ray cannot be reached at {self.address}: {error or type(error).__name__}"
            ) from None

    def _read(self, answer: httpx.Response) -> Any:
        if answer.status_code != 200:
            raise Unavailable(f"Ray at {self.address} answers {_said(answer)}")
        try:
            return answer.json()
        except ValueError:
            raise Unavailable(f"Ray at {self.address} answers with something else") from None


def _word(body: Mapping[str, Any]) -> Word:
    driver = body.get("submission_id") or body.get("job_id") or ""
    return Word(str(driver), str(body["status"]), str(body.get("message") or ""))


def _said(answer: httpx.Response) -> str:
    lines = [line.strip() for line in answer.text.splitlines() if line.strip()]
    return f"{answer.status_code}: {lines[-1][:300] if lines else 'without a word'}"


def ray_jobs(
    address: str, service: str, environment: Mapping[str, str], env: Mapping[str, str]
) -> RayJobs:
    """The Jobs API of a cluster that is there.

    Args:
        address: of its dashboard, with or without http://.
        env: where RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH may stand.

    Raises:
        AutomataError: the token's file cannot be read.
    """
    url = address if "://" in address else f"http://{address}"
    if not url.startswith(("http://", "https://")):
        raise AutomataError(
            f"RAY_ADDRESS is {address}; right is the dashboard's, e.g. http://head:8265"
        )
    return RayJobs(url, service, token_of(env), environment)


def token_of(env: Mapping[str, str]) -> str | None:
    """Ray's token, as Ray's own clients look for it; None: there is none."""
    if env.get("RAY_AUTH_TOKEN"):
        return env["RAY_AUTH_TOKEN"].strip()
    path = env.get("RAY_AUTH_TOKEN_PATH")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise AutomataError(
                f"RAY_AUTH_TOKEN_PATH: cannot read {path}: {error.strerror}"
            ) from None
    if env.get("RAY_AUTH_MODE") == "token":
        with contextlib.suppress(OSError):
            return (Path.home() / ".ray" / "auth_token").read_text(encoding="utf-8").strip()
    return None
