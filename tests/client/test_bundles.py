"""Pushing while the server goes and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automata_svc.client import bundles
from automata_svc.client.http import Http
from automata_svc.errors import Unavailable
from tests.api.served import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as one:
        yield one


class Restarting:
    """A connection over which every call after the `first` fails, `times` times."""

    def __init__(self, http: Http, first: int, times: int) -> None:
        self._http, self._first, self._times = http, first, times
        self.calls = 0

    def request(self, method: str, path: str, **more: Any) -> Any:
        self.calls += 1
        if self._first < self.calls <= self._first + self._times:
            raise Unavailable("the server does not answer")
        return self._http.request(method, path, **more)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundles, "CHUNK_BYTES", 100)
    monkeypatch.setattr(bundles, "FIRST_PAUSE_S", 0.0)
    from automata_svc.trials.templates import packaged_folder

    path = tmp_path / "mine.py"
    path.write_text((packaged_folder() / "tabular_mlp.py").read_text() + f"\n# {tmp_path}\n")
    return path


@pytest.mark.parametrize("first", [1, 2, 3, 8])
def test_a_push_outlives_a_server_that_restarts(served: Served, mine: Path, first: int) -> None:
    with Http(served.url, served.token("admin")) as http:
        ref = bundles.push(Restarting(http, first, times=5), "template", mine)
        assert http.request("GET", f"/v1/templates/{ref}").json()["text"] == mine.read_text()


def test_a_server_that_never_was_there_is_said_at_once(served: Served, mine: Path) -> None:
    with Http(served.url, served.token("admin")) as http:
        away = Restarting(http, 0, times=100)
        with pytest.raises(Unavailable):
            bundles.push(away, "template", mine)
    assert away.calls == 1


def test_one_that_does_not_come_back_ends_it(served: Served, mine: Path) -> None:
    with Http(served.url, served.token("admin")) as http:
        gone = Restarting(http, 3, times=100)
        with pytest.raises(Unavailable):
            bundles.push(gone, "template", mine)
    assert gone.calls < 30
