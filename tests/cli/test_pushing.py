"""`templates|datasets push` and the lists of a server, against a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automata_svc.cli.commands import cli
from automata_svc.cli.world import World
from automata_svc.trials.templates import packaged_folder
from tests.api.served import Served, serving

At = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.fixture
def at(server: Served, tmp_path: Path) -> At:
    """Runs `automata` with the server's URL and a token in the environment."""

    def go(*arguments: str) -> Result:
        env = {
            "AUTOMATA_HOME": str(tmp_path / "home"),
            "AUTOMATA_SERVER": server.url,
            "AUTOMATA_TOKEN": server.token("code:push", "bundles:read", "jobs:read"),
        }
        return CliRunner().invoke(cli, list(arguments), obj=World(env=env))

    return go


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text((packaged_folder() / "tabular_mlp.py").read_text())
    return path


def test_a_pushed_template_is_in_the_servers_list(at: At, mine: Path) -> None:
    done = at("templates", "push", str(mine))
    assert done.exit_code == 0, done.stderr
    ref = done.stdout.strip()
    assert ref.startswith("mine@") and f"trial: {{template: {ref}}}" in done.stderr
    assert ref in at("templates", "ls").stdout
    names = {one["ref"] for one in json.loads(at("templates", "ls", "-o", "json").stdout)}
    assert {ref, "tabular_mlp"} <= names
    assert ref not in at("templates", "ls", "--local").stdout


def test_a_template_of_the_servers_list_is_copied_here(at: At, mine: Path, tmp_path: Path) -> None:
    mine.write_text(mine.read_text() + "\n# ours\n")
    ref = at("templates", "push", str(mine), "--name", "ours").stdout.strip()
    assert at("templates", "cp", ref, str(tmp_path)).exit_code == 0
    assert (tmp_path / "ours.py").read_text() == mine.read_text()
    assert at("templates", "cp", "tabular_mlp", str(tmp_path)).exit_code == 0
    done = at("templates", "cp", "ours@" + 64 * "0", str(tmp_path / "new.py"))
    assert done.exit_code == 3 and "ours@" in done.stderr
    assert at("templates", "cp", str(mine), str(tmp_path / "copy.py")).exit_code == 0


def test_a_pushed_dataset_is_in_the_servers_list(at: At, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b,label\n" + "\n".join(f"{i},{i % 7},{'xy'[i % 2]}" for i in range(99)))
    done = at("datasets", "push", str(path), "--target", "label", "--name", "yours", "-o", "json")
    assert done.exit_code == 0, done.stderr
    ref = json.loads(done.stdout)["ref"]
    assert ref.startswith("yours@") and ref in at("datasets", "ls").stdout
    shown = at("datasets", "show", ref)
    assert shown.exit_code == 0 and "2 (x, y)" in shown.stdout, shown.stderr
    assert json.loads(at("datasets", "show", ref, "-o", "json").stdout)["n_classes"] == 2
    here = at("datasets", "show", str(path), "--target", "label")
    assert shown.stdout.splitlines()[1:] == here.stdout.splitlines()[1:]
    absent = at("datasets", "show", f"yours@{'0' * 64}")
    assert absent.exit_code == 3 and f"it has: {ref[:18]}" in absent.stderr


def test_a_server_without_stored_subsets_is_no_error(at: At) -> None:
    done = at("subsets", "ls")
    assert done.exit_code == 0 and "no stored subsets in http" in done.stderr


def test_a_servers_stored_subset_is_shown_as_this_machines_is(server: Served, at: At) -> None:
    server.run(server.submit("stores", subset={"strategy": "milo", "fraction": 0.1}))
    (key,) = (one["key"] for one in json.loads(at("subsets", "ls", "-o", "json").stdout))
    shown = at("subsets", "show", key[:8])
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.split()[:2] == ["key", key]
    assert json.loads(at("subsets", "show", key, "-o", "json").stdout)["scope"] == "project"
    assert at("subsets", "show", "0" * 8).exit_code == 3
    assert at("subsets", "show", key[:8], "--local").exit_code == 3  # in another home


def test_mistakes_are_said_before_anything_is_sent(at: At, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1\n")
    assert at("templates", "push", str(broken)).exit_code == 2
    assert at("templates", "push", str(tmp_path / "absent.py")).exit_code == 3
    assert at("datasets", "push", str(tmp_path / "absent.csv")).exit_code == 2


def test_without_a_server_nothing_is_pushed_and_it_is_said_why(mine: Path, tmp_path: Path) -> None:
    world = World(env={"AUTOMATA_HOME": str(tmp_path / "home")})
    done = CliRunner().invoke(cli, ["templates", "push", str(mine)], obj=world)
    assert done.exit_code == 2 and "by its path" in done.stderr and "--server" in done.stderr
