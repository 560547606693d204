"""One service for the tests of this folder; each makes the jobs that it touches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.served import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture(scope="session")
def done(served: Served) -> str:
    """A job that succeeded; look, don't touch."""
    job = served.submit("looked-at")
    assert served.run(job).state == "SUCCEEDED"
    return job
