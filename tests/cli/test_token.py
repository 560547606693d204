from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automata_svc.cli.commands import cli
from automata_svc.cli.world import World
from automata_svc.database import open_database
from automata_svc.jobs.tokens import Tokens
from automata_svc.settings import Settings
from tests.api.served import Served, serving
from tests.cli.conftest import Run


def test_a_token_is_printed_once_and_only_the_secret_goes_to_stdout(
    run: Run, home: Settings
) -> None:
    done = run("token", "create", "ci", "--scope", "jobs:read,jobs:write", "--expires", "90d")
    assert done.exit_code == 0, done.stderr
    secret = done.stdout.strip()
    assert "shown this once" in done.stderr and secret not in done.stderr
    with open_database(home.database_url) as database:
        caller = Tokens(database).authenticate(secret)
    assert caller.name == "ci" and caller.may("jobs:write") and not caller.may("admin")
    listed = run("token", "ls")
    assert "ci" in listed.stdout and "good" in listed.stdout and secret not in listed.stdout
    assert secret not in run("token", "ls", "-o", "json").stdout


def test_a_token_goes_into_a_file_of_ones_own(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    done = run("token", "create", "ci", "--scope", "admin", "--file", str(path))
    assert done.exit_code == 0 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() not in done.output


def test_a_revoked_token_is_shown_only_where_all_are(run: Run) -> None:
    run("token", "create", "ci", "--scope", "admin")
    assert "is revoked" in run("token", "revoke", "ci").stdout
    assert run("token", "ls").stdout == ""
    (only,) = json.loads(run("token", "ls", "--all", "-o", "json").stdout)
    assert only["name"] == "ci" and only["revoked_at"] is not None


# ---- at a server --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.fixture(params=["here", "server"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs `automata token` on a database of its own, or against a server, as its admin."""
    env = {"AUTOMATA_HOME": str(tmp_path / "home")}
    if request.param == "server":
        served = request.getfixturevalue("server")
        for row in served.world.tokens.rows():
            if row.name != "root" and row.name != "test":
                served.world.tokens.revoke(row.id)
        env |= {"AUTOMATA_SERVER": served.url, "AUTOMATA_TOKEN": served.token("admin")}
    return lambda *words: CliRunner().invoke(cli, ["token", *words], obj=World(env=env))


def test_the_verbs_say_the_same_here_and_at_a_server(at: Run, tmp_path: Path) -> None:
    made = at("create", "ci-lang", "--scope", "jobs:read", "--project", "lang", "--expires", "90d")
    assert made.exit_code == 0 and made.stdout.startswith("automata_")
    assert "(ci-lang): jobs:read; project lang; expires in 90d" in made.stderr
    secret = made.stdout.strip()
    (row,) = json.loads(at("ls", "--project", "lang", "-o", "json").stdout)
    assert {key: row[key] for key in ("name", "project", "scopes", "revoked_at")} == {
        "name": "ci-lang", "project": "lang", "scopes": ["jobs:read"], "revoked_at": None,
    }  # fmt: skip
    assert row["expires_at"] - row["created_at"] == pytest.approx(90 * 86_400)
    assert secret not in at("ls", "-o", "json").stdout
    assert f"{row['id']} (ci-lang) is revoked" in at("revoke", "ci-lang").stdout
    assert at("ls", "--project", "lang").stdout == ""
    assert "revoked" in at("ls", "--project", "lang", "--all").stdout
    file = tmp_path / "secret"
    kept = at("create", "kept", "--scope", "admin", "--file", str(file), "-o", "json")
    assert "secret" not in json.loads(kept.stdout)
    assert file.read_text().startswith("automata_") and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_mistakes_are_the_same_here_and_at_a_server(at: Run) -> None:
    wrong = at("create", "ci", "--scope", "jobs:raed")
    assert wrong.exit_code == 2 and "did you mean 'jobs:read'?" in wrong.stderr
    at("create", "nightly", "--scope", "jobs:read")
    missing = at("revoke", "nightli")
    assert missing.exit_code == 3 and "did you mean 'nightly'?" in missing.stderr


def test_who_administers_one_project_reaches_nothing_beyond_it(server: Served) -> None:
    def as_(secret: str, *words: str) -> Result:
        env = {"AUTOMATA_SERVER": server.url, "AUTOMATA_TOKEN": secret}
        return CliRunner().invoke(cli, ["token", *words], obj=World(env=env))

    mine = server.token("admin", project="mine")
    theirs = server.world.tokens.create("not-mine", ["jobs:read"], project="theirs").row
    made = as_(mine, "create", "all-of-it", "--scope", "admin")
    assert made.exit_code == 0 and "project mine" in made.stderr
    denied = as_(mine, "create", "x", "--scope", "jobs:read", "--project", "theirs")
    assert denied.exit_code == 6 and "bound to project 'mine'" in denied.stderr
    assert "not-mine" not in as_(mine, "ls", "--all").stdout
    assert as_(mine, "ls", "--project", "theirs").exit_code == 3
    assert as_(mine, "revoke", theirs.id).exit_code == 3
    for words in (("create", "x", "--scope", "jobs:read"), ("ls",), ("revoke", "all-of-it")):
        refused = as_(server.token("jobs:write", project="mine"), *words)
        assert refused.exit_code == 6 and "admin" in refused.stderr


def test_mistakes_end_with_the_nearest_name_and_the_right_code(run: Run) -> None:
    wrong = run("token", "create", "ci", "--scope", "jobs:raed")
    assert wrong.exit_code == 2 and "did you mean 'jobs:read'?" in wrong.stderr
    assert run("token", "create", "ci").exit_code == 2
    assert run("token", "create", "ci", "--scope", "admin", "--expires", "soon").exit_code == 2
    run("token", "create", "nightly", "--scope", "admin")
    missing = run("token", "revoke", "nightli")
    assert missing.exit_code == 3 and "nightly" in missing.stderr
