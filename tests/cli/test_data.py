from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_datasets_are_listed_and_those_not_here_say_how_to_get_them(run: Run) -> None:
    done = run("datasets", "ls")
    assert done.exit_code == 0 and "digits" in done.stdout and "trec6" in done.stdout
    assert {one["name"] for one in json.loads(run("datasets", "ls", "-o", "json").stdout)} >= {
        "digits", "letter", "connect4", "fashion_mnist", "trec6",
    }  # fmt: skip


def test_a_dataset_is_shown_with_its_splits_and_what_is_done_to_it(run: Run) -> None:
    shown = run("datasets", "show", "digits").stdout
    assert "training rows" in shown and "stratified" in shown


def test_a_file_of_the_users_is_shown_the_same_way(run: Run, tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i % 7},{'yes' if i % 2 else 'no'}" for i in range(200))
    path = tmp_path / "mine.csv"
    path.write_text(f"a,b,label\n{rows}\n")
    done = run("datasets", "show", str(path), "--target", "label", "-o", "json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["n_classes"] == 2


def test_long_names_of_classes_stay_within_the_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.csv"
    rows = (f"{i},class-{i % 20:03d}-{'x' * 50}" for i in range(200))
    path.write_text("a,label\n" + "\n".join(rows) + "\n")
    monkeypatch.setenv("COLUMNS", "90")
    shown = run("datasets", "show", str(path), "--target", "label").stdout
    assert max(map(len, shown.splitlines())) <= 90 and "class-011" in shown


def test_a_dataset_that_is_not_there_says_so(run: Run) -> None:
    assert run("datasets", "show", "digts").exit_code == 2
    assert run("datasets", "show", "./nowhere.csv").exit_code == 3


def test_no_stored_subsets_are_no_error_and_an_unknown_key_is(run: Run) -> None:
    assert run("subsets", "ls").exit_code == 0
    assert json.loads(run("subsets", "ls", "-o", "json").stdout) == []
    assert run("subsets", "show", "3f2a").exit_code == 3
