"""A whole service without a controller: a world in a folder, its app on a real uvicorn, tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from automata_svc.api.app import make_app
from automata_svc.api.limits import Limits
from automata_svc.api.world import ServiceWorld
from automata_svc.settings import Settings
from automata_svc.tuning.state import JobState
from tests.api.running import running
from tests.jobs.build import RUNNER, job_text

LIMITS = Limits(rate_per_s=0.0)  # paces are tested where they are set
JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}


@dataclass
class Served:
    """Where it is, and a client with everything allowed."""

    url: str
    world: ServiceWorld
    client: httpx.Client
    clients: ExitStack
    made: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def token(self, *scopes: str, project: str | None = None) -> str:
        """A bearer token with these scopes, bound to a project."""
        key = (" ".join(scopes), project)
        if key not in self.made:
            self.made[key] = self.world.tokens.create("test", scopes, project=project).secret
        return self.made[key]

    def as_(self, *scopes: str, project: str | None = None) -> httpx.Client:
        """A client of another token, closed with the service."""
        made = client_of(self.url, self.token(*scopes, project=project))
        return self.clients.enter_context(made)

    def submit(self, name: str = "digits-small", **spec: Any) -> str:
        """The id of a stored job."""
        answer = self.client.post("/v1/jobs", content=job_text(name, **spec), headers=JSON)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, job: str) -> JobState:
        """Runs it in this process, to its end."""
        return self.world.service.drive(job, runner=RUNNER)


def client_of(url: str, token: str | None) -> httpx.Client:
    headers: Mapping[str, str] = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=url, headers=headers, timeout=30.0)


@contextmanager
def serving(folder: Path, limits: Limits = LIMITS, database: str = "") -> Iterator[Served]:
    """A service in a folder of its own, with a database of its own or the one at a URL."""
    env = {"AUTOMATA_HOME": str(folder), "AUTOMATA_DATABASE_URL": database}
    settings = Settings.from_env(env)
    world = ServiceWorld.of(settings, limits)
    token = world.tokens.create("root", ["admin"]).secret
    with running(make_app(world)) as url, ExitStack() as clients:
        client = clients.enter_context(client_of(url, token))
        yield Served(url, world, client, clients)
        world.drain()
    world.service.database.close()
