"""Packages reach Ray with the driver's submission, and nothing else of a runtime_env does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from automata_svc.jobs.launch import Node, Order, RayJobs
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.runtime_env import packages_of, secret_names
from automata_svc.settings import Settings
from tests.jobs.build import job_text, trial

JOB = "job_01K0A8S0M2Z7Q4W9X3Y5T6V8R1"


@dataclass
class Recorded(RayJobs):
    """Answers like Ray, and keeps what it was sent."""

    bodies: list[dict[str, Any]] = field(default_factory=list)

    def nodes(self) -> list[Node]:
        return [Node(2, 0, 20)]

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        self.bodies.append(more["json"])
        return httpx.Response(200, json={})


def test_packages_are_rays_to_install_and_are_sent_with_the_driver(service: LocalService):
    env = {"pip": ["timm==1.0.9"], "env_vars": {"TOKEN_OF_MINE": "visible"}}
    job = service.submit(job_text(trial=trial(runtime_env=env)), "job.yaml")
    packages = packages_of(service.database.get_job(job))
    assert packages == ("timm==1.0.9",)
    ray = Recorded("http://nowhere", "service")
    ray.submit(Order.of(JOB, 1, name="x", project="default", pip=packages))
    ray.submit(Order.of(JOB, 2, name="x", project="default"))
    assert ray.bodies[0]["runtime_env"] == {"pip": ["timm==1.0.9"]}
    assert "runtime_env" not in ray.bodies[1]
    assert "TOKEN_OF_MINE" not in str(ray.bodies)


def test_the_list_of_secrets_is_the_files_of_the_operators_folder(home: Settings, tmp_path):
    assert secret_names(home) == []
    folder = tmp_path / "secrets"
    assert secret_names(replace(home, secrets_dir=folder)) == []
    (folder / "sub").mkdir(parents=True)
    for name in ("B", "A", ".hidden", "not-a-name", "sub/C"):
        (folder / name).write_text("x")
    (folder / "LINKED").symlink_to("A")  # as Kubernetes mounts them
    assert secret_names(replace(home, secrets_dir=folder)) == ["A", "B", "LINKED"]
