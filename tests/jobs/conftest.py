"""A service of this process, and one finished job that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings
from tests.jobs.build import RUNNER, job_text


@pytest.fixture
def service(home: Settings) -> Iterator[LocalService]:
    one = LocalService(home)
    yield one
    one.database.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalService, str]]:
    """A service with one job that succeeded; look, don't touch."""
    home = tmp_path_factory.mktemp("finished")
    service = LocalService(Settings.from_env({"AUTOMATA_HOME": str(home)}))
    job = service.submit(job_text(), "job.yaml")
    state = service.drive(job, runner=RUNNER)
    assert state.state == "SUCCEEDED", state.move.reason
    yield service, job
    service.database.close()
