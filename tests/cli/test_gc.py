from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automata_svc.blobs import open_store
from automata_svc.cli.gc import command
from automata_svc.cli.world import World
from automata_svc.database import open_database
from automata_svc.errors import SpecError
from automata_svc.jobs.bundles import Bundles, pack
from automata_svc.settings import Settings


def gc(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), obj=World(), catch_exceptions=False)


@pytest.fixture
def nobodys(home: Settings) -> str:
    """A checkpoint, two hours old, of a job that no row knows."""
    key = "checkpoints/job_nobodys/0/1-s0.pt"
    open_store(home.store_url).put(key, b"weights")
    path = Path(home.home / "blobs" / key)
    at = path.stat().st_mtime - 7_200
    os.utime(path, (at, at))
    return key


def test_a_dry_run_says_what_would_go_and_why(home: Settings, nobodys: str) -> None:
    done = gc("--dry-run")
    assert "job_nobodys" in done.stdout and "no job that is stored" in done.stdout
    assert "1 things would go, 7 B" in done.stderr
    assert open_store(home.store_url).exists(nobodys)


def test_what_goes_is_gone_and_the_next_round_finds_nothing(home: Settings, nobodys: str) -> None:
    (removed,) = json.loads(gc("-o", "json").stdout)
    assert (removed["kind"], removed["name"], removed["bytes"]) == ("orphan", "job_nobodys", 7)
    assert not open_store(home.store_url).exists(nobodys)
    assert json.loads(gc("-o", "json").stdout) == []


def test_what_is_younger_than_the_grace_is_left_alone(home: Settings, nobodys: str) -> None:
    assert gc("--grace", "3h").stdout == ""
    assert open_store(home.store_url).exists(nobodys)


def test_files_of_unknown_jobs_go_from_a_shared_store_only_if_asked_for(
    home: Settings, nobodys: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTOMATA_DATABASE_URL", f"sqlite:///{tmp_path / 'another.db'}")
    assert gc().stdout == ""
    assert "job_nobodys" in gc("--unknown").stdout


def test_a_bundle_that_no_job_names_goes_after_the_time_that_is_given(
    home: Settings, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helpers.py").write_text("VALUE = 1\n")
    with open_database(home.database_url) as database:
        bundles = Bundles(database, open_store(home.store_url), home)
        code = bundles.keep_code("default", tmp_path / "lib", pack(str(tmp_path / "lib")))
        assert gc("--dry-run").stdout == ""
        said = gc("--dry-run", "--unused", "0s")
        assert f"lib@{code.sha256}: no job of project 'default' names this code" in said.stdout
        assert bundles.of("default").files_of(code)
        assert f"lib@{code.sha256}" in gc("--unused", "0s", "--grace", "0s").stdout
        assert bundles.store.keys("bundles") == []
    with pytest.raises(SpecError, match="--unused: .often. is not a time"):
        gc("--unused", "often")
