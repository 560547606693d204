"""Real processes in a home of their own, and what an undisturbed run ends with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings
from tests.end_to_end.process import Automata
from tests.jobs.build import RUNNER, job_text
from tests.tuning.test_crash import outcome, verdicts


@pytest.fixture
def automata(tmp_path: Path, ray_temp_dir: Path) -> Iterator[Automata]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "job.yaml").write_text(job_text())
    one = Automata(tmp_path / "home", folder, ray_temp_dir)
    yield one
    one.close()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Proposals, decisions and winner of the job that nobody disturbed."""
    home = tmp_path_factory.mktemp("whole")
    service = LocalService(Settings.from_env({"AUTOMATA_HOME": str(home)}))
    state = service.drive(service.submit(job_text(), "job.yaml"), None, RUNNER)
    service.database.close()
    return outcome(state)


def what_came_of(automata: Automata, job: str) -> dict[str, Any]:
    """The same of a job in a home, after checking that its log replays."""
    service = automata.service()
    try:
        assert service.replay(job) == []
        return outcome(service.state(job))
    finally:
        service.database.close()


def at_any_parallelism(found: dict[str, Any]) -> dict[str, Any]:
    """Without how full a rung was on arrival, which is a matter of who was faster."""
    return {**found, "decisions": verdicts(found["decisions"])}
