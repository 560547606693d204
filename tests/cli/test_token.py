from __future__ import annotations

import json
import stat
from pathlib import Path

from automata_svc.database import open_database
from automata_svc.jobs.tokens import Tokens
from automata_svc.settings import Settings
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


def test_mistakes_end_with_the_nearest_name_and_the_right_code(run: Run) -> None:
    wrong = run("token", "create", "ci", "--scope", "jobs:raed")
    assert wrong.exit_code == 2 and "did you mean 'jobs:read'?" in wrong.stderr
    assert run("token", "create", "ci").exit_code == 2
    assert run("token", "create", "ci", "--scope", "admin", "--expires", "soon").exit_code == 2
    run("token", "create", "nightly", "--scope", "admin")
    missing = run("token", "revoke", "nightli")
    assert missing.exit_code == 3 and "nightly" in missing.stderr
