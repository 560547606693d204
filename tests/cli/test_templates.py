from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_templates_are_listed_with_their_parameters(run: Run) -> None:
    shown = run("templates", "ls").stdout
    assert "tabular_mlp" in shown and "text_classifier" in shown and "batch_size" in shown
    assert {one["name"] for one in json.loads(run("templates", "ls", "-o", "json").stdout)} >= {
        "tabular_mlp"
    }


def test_a_copy_is_a_usable_template_and_says_the_next_command(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    done = run("templates", "cp", "tabular_mlp", str(mine))
    assert done.exit_code == 0 and f"automata templates check {mine}" in done.stdout
    assert "trial.template=" in done.stdout
    checked = run("templates", "check", str(mine))
    assert checked.exit_code == 0 and "ok" in checked.stdout and "epochs" in checked.stdout


def test_a_copy_overwrites_nothing_unless_it_is_forced(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("precious")
    done = run("templates", "cp", "tabular_mlp", str(mine))
    assert done.exit_code == 4 and "--force" in done.stderr and mine.read_text() == "precious"
    assert run("templates", "cp", "tabular_mlp", str(mine), "--force").exit_code == 0
    assert "class Params" in mine.read_text()


def test_a_copy_goes_to_a_folder_that_exists_and_a_python_file(run: Run, tmp_path: Path) -> None:
    assert run("templates", "cp", "tabular_mlp", str(tmp_path)).exit_code == 0
    assert (tmp_path / "tabular_mlp.py").is_file()
    assert run("templates", "cp", "tabular_mlp", str(tmp_path / "no" / "mine.py")).exit_code == 3
    assert run("templates", "cp", "tabular_mlp", str(tmp_path / "mine")).exit_code == 2


def test_a_template_that_cannot_be_used_says_every_mistake(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("class Params(TrialParams):\n    lr: float = 1.0\n    size: list = []\n")
    done = run("templates", "check", str(broken))
    assert done.exit_code == 2
    for said in ("docstring", "size", "build", "train"):
        assert said in done.stderr


def test_a_name_that_no_template_has_names_the_nearest(run: Run) -> None:
    done = run("templates", "cp", "tabular_mpl", "x.py")
    assert done.exit_code == 2 and "did you mean 'tabular_mlp'" in done.stderr
    assert run("templates", "check", "./nowhere.py").exit_code == 3
