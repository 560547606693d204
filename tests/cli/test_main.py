from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from automata_svc.cli.commands import COMMANDS, cli
from automata_svc.settings import Settings
from tests.cli.conftest import Run
from tests.jobs.build import job_text

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name for group in COMMANDS.values() for name in group]
HEAVY = ("ray", "torch", "sqlalchemy", "pandas", "optuna", "sklearn", "scipy", "pydantic", "rich")


def automata(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "automata_svc.cli.main", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **env},
    )


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    with click.Context(cli) as ctx:
        for name in NAMES:
            one = cli.get_command(ctx, name)
            assert one is not None
            found.append((name,))
            if isinstance(one, click.Group):
                found += [(name, inner) for inner in one.commands]
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_help_text_ends_in_examples_that_name_the_command(
    path: tuple[str, ...], run: Run
) -> None:
    done = run(*path, "--help")
    assert done.exit_code == 0
    tail = done.stdout[done.stdout.index("Examples:") :]
    assert f"automata {' '.join(path)}" in tail


def test_the_overview_names_every_command(run: Run) -> None:
    shown = run("--help").stdout
    assert all(f"  {name}" in shown for name in NAMES)


def test_a_mistyped_command_names_the_nearest_and_ends_with_two(run: Run) -> None:
    done = run("tun", "job.yaml")
    assert done.exit_code == 2 and "did you mean 'tune'" in done.stderr


def test_an_unknown_option_ends_with_two(run: Run) -> None:
    assert run("tune", "job.yaml", "--fast").exit_code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["templates", "ls"], ["tune", "--help"]])
def test_looking_around_loads_nothing_that_takes_long(arguments: list[str], home: Settings) -> None:
    program = (
        "import json, sys\nfrom automata_svc.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stderr.splitlines()[-1]) == []


def test_the_real_command_keeps_its_streams_and_codes_apart(home: Settings) -> None:
    done = automata("tune", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: job file 'nowhere.yaml': there is no such file\n"


def test_a_terminal_without_unicode_gets_ascii(home: Settings, tmp_path: Path) -> None:
    done = automata("datasets", "ls", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0 and "8x8 pixels" in done.stdout
    (done.stdout + done.stderr).encode("ascii")


def test_a_reader_that_goes_away_is_no_error(home: Settings) -> None:
    command = f"{sys.executable} -m automata_svc.cli.main --help | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("end", ["2>&1 | head -1", "2>/dev/full", "2>&-"])
def test_a_search_goes_on_where_nobody_reads_its_progress(
    home: Settings, tmp_path: Path, end: str
) -> None:
    (tmp_path / "job.json").write_text(job_text())
    tune = f"{sys.executable} -m automata_svc.cli.main tune --local --runner inprocess"
    done = subprocess.run(
        ["bash", "-c", f"{tune} -o json {tmp_path}/job.json {end}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if "head" not in end:
        assert json.loads(done.stdout)["state"] == "SUCCEEDED"
    (listed,) = json.loads(automata("ls", "--local", "-o", "json").stdout)
    assert listed["state"] == "SUCCEEDED"


def test_an_answer_that_cannot_be_written_is_said_and_the_job_is_kept(
    home: Settings, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(job_text())
    tune = f"{sys.executable} -m automata_svc.cli.main tune --local --runner inprocess"
    done = subprocess.run(
        ["bash", "-c", f"{tune} {tmp_path}/job.json > /dev/full"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 5, done.stderr
    assert last.startswith("error: the answer could not be written: No space left on device; job ")
    assert "succeeded and is kept; automata show job_" in last


AMID_IMPORTS = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "automata_svc.cli.ending":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""
AT_EXIT = "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60)))"


@pytest.mark.parametrize("before", [AMID_IMPORTS, AT_EXIT], ids=["amid imports", "at exit"])
def test_an_interrupt_before_or_after_the_command_ends_it_quietly(before: str) -> None:
    program = (
        "import atexit, os, signal, sys, time\nfrom automata_svc.cli.main import main\n"
        f"{before}\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_every_help_text_is_whole_and_explains_every_option(
    path: tuple[str, ...], run: Run
) -> None:
    shown = run(*path, "--help").stdout.replace("[ARGS]...", "")
    assert "..." not in shown and max(map(len, shown.splitlines())) <= 80
    with click.Context(cli) as ctx:
        one: click.Command | None = cli
        for name in path:
            assert isinstance(one, click.Group)
            one = one.get_command(ctx, name)
    assert one is not None
    options = [option for option in one.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("path", ["db", "token", "templates", "datasets", "subsets"])
def test_a_mistyped_command_of_a_group_names_those_there_are(path: str, run: Run) -> None:
    done = run(path, "lss")
    assert done.exit_code == 2 and "unknown command 'lss'; " in done.stderr
