from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from automata_svc.database import open_database
from automata_svc.database.store import Database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'automata.db'}"


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
