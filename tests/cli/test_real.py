"""The commands over the real service: SQLite, blobs, the template and the data, without Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automata_svc.cli.commands import cli
from automata_svc.cli.world import World
from automata_svc.database import this_process
from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

JOB = """\
apiVersion: automata/v1
kind: TuneJob
metadata: {name: digits-mlp}
spec:
  trial: {template: tabular_mlp, dataset: digits, settings: {epochs: 4}}
  space: {lr: {loguniform: [1.0e-3, 1.0e-1]}, batch_size: [16, 32]}
  scheduler: {shares: [0.1, 0.3], keep: [2, 1]}
  budget: {trials: 4}
"""


def automata(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), obj=World())


@pytest.mark.timeout(120)  # imports torch, trains for a second
def test_a_job_goes_from_its_file_to_a_saved_model(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    planned = automata("plan", str(file), "-o", "json")
    assert planned.exit_code == 0, planned.stderr
    done = automata("tune", str(file), "--runner", "inprocess", "-o", "json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["state"] == "SUCCEEDED" and len(found["trials"]) == 4
    assert found["cost"]["price"] == pytest.approx(json.loads(planned.stdout)["price"], rel=0.05)
    assert found["best"]["confirmed"]["test"]["test_accuracy"] > 0.5
    job = found["job_id"]
    assert json.loads(automata("show", job, "-o", "json").stdout) == found
    loser = next(row["number"] for row in found["trials"] if row["kind"] == "rung")
    assert json.loads(automata("why", job, str(loser), "-o", "json").stdout)["agrees"] is True
    assert automata("doctor", "--replay", "digits-mlp").exit_code == 0
    saved = automata("best", job, "--save", str(tmp_path / "best"))
    assert saved.exit_code == 0, saved.stderr
    assert (tmp_path / "best" / "model.pt").is_file()
    assert automata("resume", job).exit_code == 4  # it is over


def test_every_mistake_of_a_job_file_comes_at_once(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB.replace("lr:", "lrr:").replace("digits,", "digitz,"))
    done = automata("tune", str(file))
    assert done.exit_code == 2
    assert "lrr" in done.stderr and "digitz" in done.stderr and str(file) in done.stderr
    assert automata("ls").stdout == ""


def test_what_a_plan_warns_of_is_said_before_the_job_is_handed_over(
    home: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB.replace("shares: [0.1, 0.3]", "shares: [0.01, 0.3]"))
    (warned,) = json.loads(automata("plan", str(file), "-o", "json").stdout)["warnings"]
    done = automata("submit", str(file))
    assert done.exit_code == 0 and f"warning: {warned}" in done.stderr
    assert "warning" not in done.stdout


def test_three_prices_side_by_side_fit_a_terminal(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    free = JOB.replace("  scheduler: {shares: [0.1, 0.3], keep: [2, 1]}\n", "")
    free = free.replace("epochs: 4", "epochs: 1000").replace(", batch_size: [16, 32]", "")
    file.write_text(free.replace("trials: 4", "trials: 27"))
    shown = automata("plan", str(file), "--price", "1.5,2.5,5").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "0.06 points" in shown and "7 % of jobs" in shown and "<1 % of jobs" in shown


def test_earlier_jobs_of_the_name_are_said_in_one_line(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    for count, said in enumerate(
        ("", "an earlier job of this name is", "2 earlier jobs of this name are")
    ):
        done = automata("tune", str(file), "--set", "trial.resources.cpu=1000")
        notes = [line for line in done.stderr.splitlines() if "earlier" in line]
        assert len(notes) == (count > 0) and all(note.startswith(said) for note in notes)
        automata("submit", str(file))


def test_a_job_whose_driver_was_killed_says_how_to_go_on(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    job = automata("submit", str(file)).stdout.strip()
    assert f"{job} waits: nobody has started it; go on with: automata resume {job}" in (
        automata("ls").stderr
    )
    service = LocalService(home)
    with closing(service):
        database = service.database
        token = database.take_lease(job, this_process(), 3600.0)
        database.append(job, token, [("x", "{}")], at=1.0, state="RUNNING")
        assert automata("ls").stderr == ""  # it is at work: this process
        with database._writing() as connection:
            connection.exec_driver_sql("UPDATE jobs SET lease_owner = ?", (gone(),))
    assert f"{job} waits: its driver has ended" in automata("ls").stderr


def gone() -> str:
    """The owner of a lease whose process has ended."""
    code = "from automata_svc.database import this_process; print(this_process())"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()
