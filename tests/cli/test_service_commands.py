"""submit, watch, logs, clone, set, retry; and where a command thinks that jobs are."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automata_svc.cli.commands import cli
from automata_svc.cli.world import World
from automata_svc.errors import SpecError
from automata_svc.jobs.connecting import Where, connect, live_server
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.remote import RemoteService
from automata_svc.settings import Settings
from tests.api.served import serving
from tests.cli.fake import FakeService
from tests.jobs.build import RUNNER, job_text

Run = Callable[..., Result]


def test_submit_prints_the_id_alone_and_says_what_to_do(run: Run, job_file: str) -> None:
    found = run("submit", job_file)
    assert found.exit_code == 0 and found.stdout == "job_0\n"
    assert "automata resume job_0" in found.stderr


def test_watch_shows_the_report_of_a_job_at_its_end(run: Run, done: str) -> None:
    found = run("watch", done)
    assert found.exit_code == 0 and "SUCCEEDED" in found.stdout


def test_logs_come_page_by_page_and_can_be_cut_to_the_last(run: Run, done: str) -> None:
    whole = run("logs", done, "--trial", "3").stdout.splitlines()
    assert whole == [f"line {n} of 3" for n in range(1, 8)]
    assert run("logs", done, "--trial", "3", "--tail", "2").stdout.splitlines() == whole[-2:]
    assert run("logs", done, "--trial", "3", "-f").stdout.splitlines() == whole


def test_clone_passes_its_changes_on(run: Run, done: str, service: FakeService) -> None:
    found = run("clone", done, "--set", "search.seed=2")
    assert found.exit_code == 0 and found.stdout.strip() != done
    assert service.overrides[-1] == ("search.seed=2",)


def test_set_passes_a_merge_patch_on(run: Run, done: str, service: FakeService) -> None:
    found = run("set", done, "priority=80", "labels.team=vision", "labels.old=null")
    assert found.exit_code == 0 and "priority=80" in found.stdout
    labels = {"team": "vision", "old": None}
    assert service.changed == [(done, {"priority": 80, "labels": labels})]


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (("priority",), "priority: not of the form path=value"),
        (("prioritty=3",), "did you mean 'priority'"),
        (("priority=101", "parallelism=0"), "101 is not at most 100"),
        (("labels.a.b=c",), "labels.a"),
    ],
)
def test_set_says_what_is_wrong_and_changes_nothing(
    run: Run, done: str, service: FakeService, assignments: tuple[str, ...], said: str
) -> None:
    found = run("set", done, *assignments)
    assert found.exit_code == 2 and said in found.stderr
    assert service.changed == []


def test_a_home_with_a_live_server_is_asked_there_and_says_so(tmp_path: Path) -> None:
    settings = Settings.from_env({"AUTOMATA_HOME": str(tmp_path)})
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "url").write_text("http://127.0.0.1:8070\n")
    (folder / "token").write_text("secret\n")
    (folder / "lock").touch()
    said: list[str] = []
    assert live_server(tmp_path) is None  # a file that nobody holds was left behind
    assert isinstance(connect(Where(), settings, {}, said.append), LocalService) and not said
    with (folder / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = connect(Where(), settings, {}, said.append)
        assert isinstance(found, RemoteService) and found.place == "http://127.0.0.1:8070"
        assert found.http._client.headers["authorization"] == "Bearer secret"
        assert "live in this home" in said[0]
        assert isinstance(connect(Where(local=True), settings, {}), LocalService)
        # The home's token is for the home's server, and for nobody else.
        other = connect(Where(server="http://elsewhere"), settings, {})
        assert isinstance(other, RemoteService)
        assert "authorization" not in other.http._client.headers


def test_the_environment_names_a_server_and_its_token(tmp_path: Path) -> None:
    settings = Settings.from_env({"AUTOMATA_HOME": str(tmp_path)})
    env = {"AUTOMATA_SERVER": "http://there", "AUTOMATA_TOKEN": "t"}
    found = connect(Where(), settings, env)
    assert isinstance(found, RemoteService) and found.place == "http://there"
    assert found.http._client.headers["authorization"] == "Bearer t"
    with pytest.raises(SpecError, match="exclude each other"):
        connect(Where(server="http://a", local=True), settings, env)
    with pytest.raises(SpecError, match="cannot be read"):
        connect(Where(server="http://a", token_file=tmp_path / "none"), settings, env)


def test_commands_work_against_a_real_server(tmp_path: Path) -> None:
    job_file = tmp_path / "job.json"
    job_file.write_text(job_text("there"))
    with serving(tmp_path / "served") as served:
        token = tmp_path / "token"
        token.write_text(served.token("admin"))
        at = ("--server", served.url, "--token-file", str(token))

        def run(*arguments: str) -> Result:
            return CliRunner().invoke(
                cli, list(arguments), obj=World(env={"AUTOMATA_HOME": str(tmp_path)})
            )

        job = run("submit", str(job_file), *at).stdout.strip()
        assert job.startswith("job_")
        assert "QUEUED" in run("ls", *at).stdout
        served.world.service.drive(job, runner=RUNNER)
        report = run("watch", "there", *at)
        assert report.exit_code == 0 and served.url in report.stdout
        assert "price" in run("show", "there", *at).stdout
        assert len(run("trials", "there", "--top", "2", *at).stdout.splitlines()) == 3
        assert run("doctor", "--replay", "there", *at).exit_code == 0
        saved = run("best", "there", "--save", str(tmp_path / "best"), *at)
        assert saved.exit_code == 0 and (tmp_path / "best" / "model.pt").is_file()
        assert run("stop", "there", *at).exit_code == 4
        assert run("show", "nobody", *at).exit_code == 3
        assert run("ls", "--server", served.url).exit_code == 6
        assert run("ls", "--server", "http://127.0.0.1:9").exit_code == 5
