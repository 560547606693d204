from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.cli.fake import JOB, FakeService


def test_no_jobs_say_how_to_start_one(run: Run) -> None:
    done = run("ls")
    assert done.exit_code == 0 and done.stdout == "" and "automata tune" in done.stderr


def test_jobs_are_listed_with_what_they_cost(run: Run, done: str) -> None:
    shown = run("ls").stdout
    assert "SUCCEEDED" in shown and "27/27" in shown and "letter-mlp" in shown
    assert json.loads(run("ls", "-o", "json").stdout)[0]["id"] == done


def test_the_newest_jobs_are_listed_and_how_to_see_the_rest_is_said(
    run: Run, service: FakeService
) -> None:
    made = [service.submit(JOB, "job.yaml") for _ in range(52)]
    some = run("ls")
    assert len(some.stdout.splitlines()) == 1 + 50
    assert some.stderr == "the newest 50 jobs; there are older ones: --limit 100, or --all\n"
    few = run("ls", "--limit", "2", "-o", "json")
    assert [row["id"] for row in json.loads(few.stdout)] == made[-1:-3:-1]
    assert "the newest 2 jobs" in few.stderr
    for every in (("--all",), ("--limit", "0"), ("--limit", "52"), ("--limit", "1", "--all")):
        whole = run("ls", *every)
        assert (len(whole.stdout.splitlines()), whole.stderr) == (1 + 52, "")


def test_a_state_that_is_none_names_the_nearest(run: Run) -> None:
    found = run("ls", "--state", "PAUSD")
    assert found.exit_code == 2 and "PAUSED" in found.stderr


def test_show_prints_the_report_of_a_job_by_name(run: Run, done: str) -> None:
    assert "Best: trial" in run("show", "letter-mlp").stdout
    assert json.loads(run("show", done, "-o", "json").stdout)["state"] == "SUCCEEDED"
    assert "loguniform" in run("show", done, "--spec").stdout


def test_a_job_that_is_not_there_ends_with_three(run: Run) -> None:
    for command in (
        ["show", "x"],
        ["trials", "x"],
        ["best", "x"],
        ["why", "x", "0"],
        ["stop", "x"],
    ):
        found = run(*command)
        assert found.exit_code == 3 and "no job 'x'" in found.stderr


def test_trials_are_listed_the_furthest_first(run: Run, done: str) -> None:
    lines = run("trials", done).stdout.splitlines()
    assert len(lines) == 28 and "lr" in lines[0] and "val_accuracy" in lines[0]
    rungs = [int(line.split()[2]) for line in lines[1:]]
    assert rungs == sorted(rungs, reverse=True)
    assert len(run("trials", done, "--top", "3").stdout.splitlines()) == 4


def test_best_shows_confirmed_values_and_saves_the_model(
    run: Run, done: str, tmp_path: Path
) -> None:
    found = run("best", done, "--save", str(tmp_path / "best"))
    assert found.exit_code == 0 and "test_accuracy" in found.stdout and "model.pt" in found.stdout
    assert (tmp_path / "best" / "model.pt").is_file()
    assert json.loads(run("best", done, "-o", "json").stdout)["confirmed"]["val"]


def test_a_job_without_a_value_has_no_best(run: Run, service: FakeService) -> None:
    service.submit(JOB, "job.yaml")
    assert run("best", "letter-mlp").exit_code == 4


def test_why_shows_the_table_and_a_wrong_number_ends_with_three(run: Run, done: str) -> None:
    found = run("why", done, "0")
    assert "cut" in found.stdout and "27 trials" in found.stdout
    data = json.loads(run("why", done, "0", "-o", "json").stdout)
    assert len(data["table"]) == 27 and data["agrees"] is True
    assert run("why", done, "99").exit_code == 3
    assert run("why", done, "seven").exit_code == 2


def test_stop_ends_a_job_and_stopping_it_again_is_a_conflict(
    run: Run, service: FakeService
) -> None:
    service.submit(JOB, "job.yaml")
    found = run("stop", "letter-mlp", "--reason", "wrong dataset")
    assert found.exit_code == 0 and "is stopped" in found.stdout
    again = run("stop", "letter-mlp")
    assert again.exit_code == 4 and "already finished" in again.stderr


def test_replaying_a_job_says_that_its_decisions_follow_or_which_do_not(
    run: Run, done: str, service: FakeService
) -> None:
    found = run("doctor", "--replay", done)
    assert found.exit_code == 0 and "follow from the log" in found.stdout
    service.divergences = ["event 7: recorded promote; derived prune"]
    found = run("doctor", "--replay", done)
    assert found.exit_code == 1 and "event 7" in found.stdout and "1 recorded" in found.stderr
