"""The kinds of databases that everything about rows is tested on; a new backend is a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from automata_svc.database import TrialRow, open_database
from automata_svc.database.store import Database

Make = Callable[[pytest.FixtureRequest, Path], str]

# Name → the URL of a fresh database of that kind, and the marks of its tests.
KINDS: Mapping[str, tuple[Make, tuple[pytest.MarkDecorator, ...]]] = MappingProxyType(
    {
        "sqlite": (lambda request, folder: f"sqlite:///{folder / 'automata.db'}", ()),
        "postgresql": (
            lambda request, folder: request.getfixturevalue("postgres_url"),
            (pytest.mark.real,),
        ),
    }
)


@pytest.fixture(params=[pytest.param(name, marks=marks) for name, (_, marks) in KINDS.items()])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    make, _ = KINDS[request.param]
    return make(request, tmp_path)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with open_database(url) as opened:
        yield opened


@pytest.fixture
def job(database: Database) -> str:
    """The id of a stored job without events."""
    return database.create_job(
        name="letter-mlp", spec="{spec}", plan="{plan}", template="source", created_at=1000.0
    )


def make(database: Database, name: str = "a", at: float = 1.0, **more: Any) -> str:
    """A stored job of which only what is given matters."""
    return database.create_job(name=name, spec="{}", plan="{}", template="", created_at=at, **more)


def row(number: int, rung: int = 0, metric: float | None = None, **more: Any) -> TrialRow:
    """A trial of which only what is given matters."""
    values: dict[str, Any] = {
        "state": "RUNNING",
        "reason": "",
        "loss": None,
        "share": 0.1,
        "body": f'{{"number": {number}}}',
        **more,
    }
    return TrialRow(number=number, rung=rung, metric=metric, **values)
