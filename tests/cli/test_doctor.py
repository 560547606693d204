from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from automata_svc.cli.checks import CHECKS, Check, Mark, run
from automata_svc.settings import Settings

LIGHT = [check for check in CHECKS if check.name not in ("torch", "ray")]  # they take seconds


@pytest.mark.parametrize("check", LIGHT, ids=lambda check: check.name)
def test_a_machine_that_can_test_can_run_jobs(check: Check, home: Settings) -> None:
    found = run(check, home)
    assert found.mark != "problem", found.said
    assert found.said


def test_whatever_a_check_raises_is_what_it_found(home: Settings) -> None:
    def broken(settings: Settings) -> tuple[Mark, str, str]:
        raise RuntimeError("the library is of another world")

    found = run(Check("library", broken), home)
    assert found.mark == "problem" and "another world" in found.said


def test_a_home_that_cannot_be_made_says_what_to_do(home: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = next(check for check in CHECKS if check.name == "home")
    found = run(check, replace(home, home=tmp_path / "file" / "home"))
    assert found.mark == "problem" and "AUTOMATA_HOME" in found.todo


def test_a_data_folder_that_is_not_there_is_named(home: Settings, tmp_path: Path) -> None:
    check = next(check for check in CHECKS if check.name == "datasets")
    found = run(check, replace(home, data_dirs=(tmp_path / "gone",)))
    assert found.mark == "note" and str(tmp_path / "gone") in found.said


def test_a_template_that_cannot_be_used_is_named(home: Settings, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\n")
    check = next(check for check in CHECKS if check.name == "templates")
    found = run(check, replace(home, template_dirs=(tmp_path,)))
    assert found.mark == "note" and "broken.py" in found.todo


def test_a_store_of_a_scheme_nobody_knows_is_a_problem(home: Settings) -> None:
    check = next(check for check in CHECKS if check.name == "store")
    found = run(check, replace(home, store_url="ftp://somewhere"))
    assert found.mark == "problem" and "ftp" in found.said
