"""What is written about the code is checked against the code, or it drifts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from automata_svc.cli.commands import COMMANDS
from automata_svc.datasets import SOURCES
from automata_svc.selection import STRATEGIES
from automata_svc.settings import Settings
from automata_svc.spec.load import parse_job
from automata_svc.trials.templates import list_templates
from automata_svc.tuning.guards import GUARDS
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.searchers import SEARCHERS

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "trial_templates/README.md")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def fences(page: str) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    parts = re.split(r"^```(\w*)\n", read(page), flags=re.MULTILINE)
    return [(parts[i], parts[i + 1]) for i in range(1, len(parts) - 1, 4)]


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)


def test_the_job_in_the_readme_is_a_job():
    jobs = [text for language, text in fences("README.md") if language == "yaml"]
    assert jobs
    for text in jobs:
        parse_job(text, "README.md")


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("strategies", STRATEGIES),
        ("searchers", SEARCHERS),
        ("schedulers", SCHEDULERS),
        ("guards", GUARDS),
        ("templates", {t.name: t for t in list_templates(Settings.from_env({}))}),
    ],
)
def test_the_readme_names_exactly_what_is_in_each_table(row, names):
    (line,) = re.findall(rf"^\| {row} \| (.*) \|$", read("README.md"), flags=re.MULTILINE)
    assert set(re.findall(r"`([a-z_]+)`", line)) == set(names)


def test_the_readme_names_every_dataset():
    (line,) = re.findall(r"^\| datasets \| (.*) \|$", read("README.md"), flags=re.MULTILINE)
    assert all(name in line for name in SOURCES)


@pytest.mark.parametrize("page", PAGES)
def test_every_automata_command_that_is_shown_exists(page):
    inline = " ".join(re.findall(r"`[^`]*`", prose(page)))
    shown = set(re.findall(r"automata ([a-z]+)\b", inline))
    for _, text in fences(page):
        shown |= set(re.findall(r"^automata ([a-z]+)\b", text, flags=re.MULTILINE))
    known = {name for section in COMMANDS.values() for name in section}
    assert shown <= known, shown - known


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_is_named_exists(page):
    named = re.findall(
        r"`((?:automata_svc|tests|benchmarks|trial_templates)/[\w/.]*[\w/])`", read(page)
    )
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing
    linked = re.findall(r"\]\((?!http|#)([^)#]+)\)", read(page))
    base = (ROOT / page).parent
    assert not [path for path in linked if not (base / path).exists()]


def test_the_map_names_every_folder_and_no_other():
    (drawn,) = [text for language, text in fences("README.md") if "  spec/ " in text]
    folders = set(re.findall(r"^  ([a-z]+)/ ", drawn, flags=re.MULTILINE))
    real = {p.name for p in (ROOT / "automata_svc").iterdir() if (p / "__init__.py").exists()}
    assert folders == real


def test_every_python_module_the_readme_tells_to_run_exists():
    for module in re.findall(r"python -m ([\w.]+)", read("README.md")):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module


# Set by the service for its own processes; nobody else gives or reads it.
INTERNAL = {"AUTOMATA_SERVICE_RAY"}


def test_every_setting_read_from_the_environment_is_written_down():
    docstring = read("automata_svc/settings.py").split('"""', 2)[1]
    written = set(re.findall(r"^(AUTOMATA_[A-Z_]+) ", docstring, flags=re.MULTILINE))
    shown = set(re.findall(r"`(AUTOMATA_[A-Z_]+)`", read("README.md")))
    found: set[str] = set()
    for path in (ROOT / "automata_svc").rglob("*.py"):
        found |= set(re.findall(r'"(AUTOMATA_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert found - INTERNAL <= written | shown
    assert written | shown <= found


def test_bundled_jobs_say_the_command_that_runs_them():
    for path in (ROOT / "trial_templates").glob("*.yaml"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# automata tune trial_templates/{path.name}"
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["kind"] == "TuneJob"
