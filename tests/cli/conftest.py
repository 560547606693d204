"""A runner of commands in this process, over a service in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automata_svc.cli.commands import cli
from automata_svc.cli.world import World
from automata_svc.settings import Settings
from tests.cli.fake import JOB, FakeService

Run = Callable[..., Result]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def run(service: FakeService, home: Settings) -> Run:
    """Runs `automata` with these arguments; stdout and stderr apart in the result."""

    def go(*arguments: str, stdin: str | None = None) -> Result:
        world = World(connect=lambda: service)
        return CliRunner().invoke(cli, list(arguments), obj=world, input=stdin)

    return go


@pytest.fixture
def job_file(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return str(path)


@pytest.fixture
def done(service: FakeService) -> str:
    """A finished job's id."""
    job = service.submit(JOB, "job.yaml")
    service.drive(job)
    return job
