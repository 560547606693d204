from __future__ import annotations

import json

import pytest
import yaml

from automata_svc.errors import Conflict, Damaged
from tests.cli.conftest import Run
from tests.cli.fake import JOB, FakeService
from tests.results.build import OneIsNaN

ESCAPE = "\x1b"


def test_the_report_is_on_stdout_and_progress_on_stderr(run: Run, job_file: str) -> None:
    done = run("tune", job_file)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("letter-mlp") and "Best: trial" in done.stdout
    assert "rung 1" in done.stderr and "9 go on" in done.stderr and "confirmed:" in done.stderr
    assert "[  0:00]" not in done.stdout


def test_nothing_that_is_piped_holds_a_control_code(run: Run, job_file: str) -> None:
    done = run("tune", job_file)
    assert ESCAPE not in done.stdout + done.stderr and "\r" not in done.stdout + done.stderr


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_asked_for_data_stdout_holds_data_and_nothing_else(
    run: Run, job_file: str, form: str, load: object
) -> None:
    done = run("tune", job_file, "-o", form)
    assert callable(load)
    found = load(done.stdout)
    assert found["job_id"] == "job_0" and found["name"] == "letter-mlp"
    assert found["best"]["confirmed"]["test"]["test_accuracy"] > 0.5


def test_quiet_leaves_only_the_job_id_on_stderr(run: Run, job_file: str) -> None:
    assert run("tune", job_file, "-q").stderr == "letter-mlp: job_0\n"


def test_changes_reach_the_service_in_their_order(
    run: Run, job_file: str, service: FakeService
) -> None:
    run("tune", job_file, "--set", "budget.trials=9", "--set", "search.seed=3")
    planned, submitted = service.overrides
    assert planned == submitted == ("budget.trials=9", "search.seed=3")


def test_a_job_file_can_come_from_stdin(run: Run) -> None:
    assert run("tune", "-", stdin=JOB).exit_code == 0


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(
    run: Run, job_file: str, service: FakeService
) -> None:
    service.interrupt_after = 10
    done = run("tune", job_file)
    assert done.exit_code == 130
    assert "automata resume job_0" in done.stderr and "kept" in done.stderr
    assert done.stdout == ""
    again = run("resume", "job_0")
    assert again.exit_code == 0 and "Best: trial" in again.stdout
    assert "going on at price" in again.stderr


def test_an_unfinished_job_of_the_same_name_is_named(
    run: Run, job_file: str, service: FakeService
) -> None:
    service.interrupt_after = 10
    run("tune", job_file)
    done = run("tune", job_file)
    assert done.exit_code == 0
    assert "automata resume job_0" in done.stderr and "new job" in done.stderr
    assert "job_1" in done.stdout


def test_a_finished_job_of_the_same_name_is_nobodys_business(run: Run, job_file: str) -> None:
    run("tune", job_file)
    assert "earlier" not in run("tune", job_file).stderr


def test_a_job_that_fails_ends_with_one_and_its_report(
    run: Run, job_file: str, service: FakeService
) -> None:
    service.options = {"trials": 3, "keep": (2, 1, 1)}
    service.curves = OneIsNaN()
    service.curves.spoil = lambda order, share: {"val_accuracy": float("nan")}
    done = run("tune", job_file)
    assert done.exit_code == 1
    assert "no trial has a usable value" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: job job_0 failed")


@pytest.mark.parametrize(
    ("error", "code"), [(Conflict("somebody has it"), 4), (Damaged("it did not work"), 1)]
)
def test_an_error_is_one_message_and_its_exit_code(
    run: Run, job_file: str, service: FakeService, error: Exception, code: int
) -> None:
    def drive(*_: object) -> None:
        raise error

    service.drive = drive  # type: ignore[method-assign, assignment]
    done = run("tune", job_file)
    assert done.exit_code == code
    assert done.stderr.splitlines()[-1] == f"error: {error}"


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere.yaml", "no such file"), (".", "is a folder")],
    ids=["absent", "folder"],
)
def test_a_file_that_cannot_be_read_ends_with_two(run: Run, name: str, said: str) -> None:
    done = run("tune", name)
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_a_mistake_in_a_job_file_ends_with_two_and_names_the_file(
    run: Run, tmp_path: object
) -> None:
    done = run("tune", "-", stdin="apiVersion: automata/v1\n")
    assert done.exit_code == 2 and "stdin: metadata: is missing" in done.stderr


def test_an_interrupt_that_a_library_made_an_error_of_is_an_interrupt(
    run: Run, service: FakeService, job_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(*_: object) -> str:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("the database is closed")  # noqa: B904

    monkeypatch.setattr(service, "submit", submit)
    done = run("tune", job_file)
    assert done.exit_code == 130 and done.stderr.splitlines()[-1] == "interrupted"


def test_the_unexpected_is_one_line_and_its_traceback_is_kept(
    run: Run, job_file: str, service: FakeService
) -> None:
    def submit(*_: object) -> str:
        raise ZeroDivisionError("division by zero")

    service.submit = submit  # type: ignore[method-assign, assignment]
    done = run("tune", job_file, "-q")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    path = done.stderr.strip().rpartition(" ")[2]
    with open(path) as kept:
        assert "ZeroDivisionError: division by zero" in kept.read()


def test_an_error_that_is_its_own_context_ends_the_command(
    run: Run, job_file: str, service: FakeService
) -> None:
    def drive(*_: object) -> object:
        first, second = OSError("first"), OSError("the disk is full")
        first.__context__, second.__context__ = second, first
        raise second

    service.drive = drive  # type: ignore[method-assign, assignment]
    done = run("tune", job_file)
    assert done.exit_code == 1 and "the disk is full" in done.stderr
