"""Templates are found and read without running them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from automata_svc.errors import NotFound, SpecError, UnknownName
from automata_svc.settings import Settings
from automata_svc.trials.module import load_module
from automata_svc.trials.templates import (
    ParamDecl,
    broken_templates,
    find_template,
    list_templates,
    packaged_folder,
)

GOOD = '''"""Trains nothing.

More words."""

from automata_svc.trials import TrialParams

open("/nowhere/at/all")  # would fail if this were run


class Params(TrialParams):
    """Doc."""

    lr: float = 1
    layers: int = -2
    name: "str" = "a"  # quoted annotations are annotations
    on_disk: bool = False
    epochs: int = 3

    def twice(self):
        return 2 * self.lr


def build(params, dataset):
    pass


def train(trial, extra=None):
    pass
'''


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_file_is_read_and_not_run(home, tmp_path):
    path = written(tmp_path, GOOD)
    found = find_template(path, home)
    assert found.name == "mine"
    assert found.summary == "Trains nothing."
    assert found.params == (
        ParamDecl("lr", "float", 1.0),
        ParamDecl("layers", "int", -2),
        ParamDecl("name", "str", "a"),
        ParamDecl("on_disk", "bool", False),
        ParamDecl("epochs", "int", 3),
    )
    assert isinstance(found.defaults["lr"], float)
    assert found.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert found.text == GOOD
    assert not found.own_schedule


def test_a_schedule_of_its_own_is_declared_in_one_line(home, tmp_path):
    text = GOOD.replace("class Params", "OWN_SCHEDULE = True\n\n\nclass Params")
    assert find_template(written(tmp_path, text), home).own_schedule


@pytest.mark.parametrize("kind", ["'pictures'", "'te' + 'xt'", "None"])
def test_a_kind_of_data_is_one_of_ours_written_out(home, tmp_path, kind):
    text = GOOD.replace("class Params", "KIND = 'text'\n\n\nclass Params")
    assert find_template(written(tmp_path, text), home).kind == "text"
    with pytest.raises(SpecError, match="KIND is 'tabular' or 'text', nothing computed"):
        find_template(written(tmp_path, text.replace("'text'", kind)), home)


def test_windows_line_ends_keep_their_digest(home, tmp_path):
    path = tmp_path / "mine.py"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    found = find_template(str(path), home)
    assert hashlib.sha256(found.text.encode()).hexdigest() == found.sha256


BAD = """from automata_svc.trials import TrialParams

OWN_SCHEDULE = 1


class Params(TrialParams):
    lr = 0.1
    width: int
    depth: int = 2 * 3
    rate: float = "fast"
    flag: bool = 1
    half: int = 0.5
    sizes: list = []
    lr: float = 0.1
    lr: float = 0.2


def build(params):
    pass
"""


def test_a_mark_that_an_editor_put_first_is_no_mistake_and_stays_in_the_digest(home, tmp_path):
    raw = b"\xef\xbb\xbf" + (packaged_folder() / "tabular_mlp.py").read_bytes()
    (tmp_path / "marked.py").write_bytes(raw)
    found = find_template(str(tmp_path / "marked.py"), home)
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    assert load_module(found.text, found.sha256, found.path).Params().epochs > 0


def test_all_mistakes_come_at_once_with_their_lines(home, tmp_path):
    with pytest.raises(SpecError) as caught:
        find_template(written(tmp_path, BAD), home)
    assert {str(p) for p in caught.value.problems} == {
        "line 1: no docstring; its first line says what is trained",
        "line 3: OWN_SCHEDULE is True or False, nothing computed",
        "line 7: Params.lr has no type; write `lr: float = …`",
        "line 8: Params.width has no default",
        "line 9: Params.depth has the default `2 * 3`, which is not a literal int",
        "line 10: Params.rate is of type float, its default 'fast' is not",
        "line 11: Params.flag is of type bool, its default 1 is not",
        "line 12: Params.half is of type int, its default 0.5 is not",
        "line 13: Params.sizes is of type list; a parameter is one of bool, float, int, str",
        "line 15: Params.lr is declared twice",
        "line 18: build is called as `def build(params, dataset)`",
        "no `def train(trial)`",
    }
    assert "mine.py" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("class Params(TrialParams)", "class Params"), "class Params must be a TrialParams"),
        (("class Params", "class Parameters"), "no `class Params"),
        (("    epochs: int = 3\n", ""), "Params needs `epochs: int"),
        (
            ("def build(params, dataset):", "def build(params, dataset:"),
            "line 23: not python: '(' w",
        ),
        (("def train(trial, extra=None)", "def train(trial, extra)"), "called as"),
        (("def train(trial, extra=None)", "def train(trial, *, extra)"), "called as"),
        (("lr: float = 1", "lr: float = {[]: 1}"), "not a literal float"),
        (("lr: float = 1", f"lr: float = 1{'0' * 400}"), "beyond what a float holds"),
        (("lr: float = 1", f"lr: float = {'-' * 100_000}1"), "nested too deeply"),
        (("lr: float", f"lr: a{'.b' * 3_000}"), "nested too deeply"),
    ],
)
def test_one_mistake_is_named(home, tmp_path, change, complaint):
    with pytest.raises(SpecError) as caught:
        find_template(written(tmp_path, GOOD.replace(*change)), home)
    assert complaint in str(caught.value)


def test_bytes_that_are_no_text_are_refused(home, tmp_path):
    (tmp_path / "mine.py").write_bytes(b'"""\xff"""')
    with pytest.raises(SpecError, match="not UTF-8"):
        find_template(str(tmp_path / "mine.py"), home)


def test_an_unknown_name_is_told_the_nearest(home):
    with pytest.raises(UnknownName, match="did you mean 'tabular_mlp'"):
        find_template("tabular_mpl", home)


def test_a_file_that_is_not_there_is_not_found(home):
    with pytest.raises(NotFound, match=f"no such file from {re.escape(str(Path.cwd()))}"):
        find_template("./nothing.py", home)


def test_the_operators_folders_come_first_and_a_broken_file_spoils_no_listing(home, tmp_path):
    written(tmp_path, GOOD, "tabular_mlp.py")
    written(tmp_path, BAD, "broken.py")
    written(tmp_path, "HELPER = 1", "_helper.py")
    settings = replace(home, template_dirs=(tmp_path,))
    assert find_template("tabular_mlp", settings).summary == "Trains nothing."
    names = [found.name for found in list_templates(settings)]
    assert names == sorted({*(t.name for t in list_templates(home)), "tabular_mlp"})
    (broken,) = broken_templates(settings)
    assert (broken.name, len(broken.error.problems)) == ("broken", 12)


def test_in_a_checkout_the_templates_are_the_ones_beside_the_package():
    root = Path(__file__).resolve().parents[2]
    assert packaged_folder() == root / "trial_templates"
    assert not broken_templates(Settings.from_env({}))


def test_reading_templates_loads_no_torch():
    code = (
        "import sys\n"
        "from automata_svc.settings import Settings\n"
        "from automata_svc.trials.templates import list_templates\n"
        "assert list_templates(Settings.from_env({}))\n"
        "print([m for m in ('torch', 'numpy', 'ray', 'sklearn') if m in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
