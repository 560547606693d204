"""The first thing a user does, and the first things they get wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.process import ROOT, Automata
from tests.jobs.build import job_text, trial
from tests.test_docs import fences

pytestmark = pytest.mark.timeout(180)


def test_the_quick_start_runs_as_it_is_and_its_numbers_hang_together(automata: Automata) -> None:
    """`make tune`'s job, in process and with fewer trials, to keep it short."""
    quick_start = ROOT / "trial_templates" / "tabular_mlp.yaml"
    said = automata.run(
        "tune", str(quick_start), "--runner", "inprocess", "-o", "json",
        "--set", "budget.trials=5", "--set", "trial.settings.epochs=10",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["state"] == "SUCCEEDED" and len(found["trials"]) == 5
    assert found["best"]["confirmed"]["test"]["test_accuracy"] > 0.85
    cost = found["cost"]
    assert cost["price"] > 0 and cost["train_rows"] > 0 and cost["select_seconds"] > 0
    job = found["job_id"]
    shown = automata.run("show", job, "-o", "json")
    again = json.loads(shown.out)
    assert again["best"] == found["best"] and again["cost"]["price"] == cost["price"]
    saved = automata.run("best", job, "--save", "best")
    assert saved.code == 0, saved.err
    assert (automata.folder / "best" / "example.py").is_file()
    for number in range(5):
        why = automata.run("why", job, str(number)) if number == 0 else None
        assert why is None or (why.code == 0 and why.out)
    replayed = automata.run("doctor", "--replay", job)
    assert replayed.code == 0, replayed.out + replayed.err


@pytest.mark.slow
def test_the_notebook_of_the_readme_runs_as_it_is(automata: Automata) -> None:
    (automata.folder / "job.yaml").write_text(
        (ROOT / "trial_templates" / "tabular_mlp.yaml").read_text()
    )
    (cells,) = [
        text for language, text in fences("README.md") if language == "python" and "frame" in text
    ]
    program = f"{cells}\nprint(len(frame), len(list(Path('best').iterdir())))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=automata.folder, env=automata.env, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "27 5\n"), done.stderr


def test_bring_your_own_template_and_data(automata: Automata) -> None:
    assert automata.run("templates", "cp", "tabular_mlp", "./mine.py").code == 0
    rows = [f"{i % 3 + (i * 37 % 50) / 100},{i % 7},{'abc'[i % 3]}" for i in range(240)]
    (automata.folder / "mine.csv").write_text("a,b,label\n" + "\n".join(rows) + "\n")
    mine = automata.folder / "mine.py"
    text = mine.read_text().replace("nn.ReLU()", "nn.Tanh()")
    mine.write_text(
        text.replace("    optimizer = make_", '    print("mine at work")\n    optimizer = make_')
    )
    (automata.folder / "job.yaml").write_text(
        job_text(
            trial=trial(template="./mine.py", dataset={"path": "./mine.csv", "target": "label"},
                        settings={"epochs": 8}),
        )
    )  # fmt: skip
    said = automata.run("tune", "job.yaml", "--runner", "inprocess", "-o", "json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["best"]["confirmed"]["test"]["test_accuracy"] > 0.8
    # What it prints is kept with its trial, and in nobody's way.
    assert "mine at work" not in said.out + said.err and "rung 1" in said.err
    prints = automata.home / "logs" / found["job_id"] / f"trial-{found['best']['trial']}.txt"
    assert prints.read_text().startswith("mine at work\n")


def test_mistakes_come_back_at_once_with_exit_code_2_and_store_nothing(
    automata: Automata,
) -> None:
    (automata.folder / "job.yaml").write_text(
        job_text(trial={"template": "tabular_mpl", "dataset": "nowhere"}, subset={"strategy": "x"})
    )
    said = automata.run("tune", "job.yaml")
    assert said.code == 2 and "3 mistakes" in said.err and said.out == ""
    assert "Traceback" not in said.err
    assert json.loads(automata.run("ls", "-o", "json").out) == []


def test_a_template_that_raises_shows_its_own_traceback(automata: Automata) -> None:
    assert automata.run("templates", "cp", "tabular_mlp", "./mine.py").code == 0
    path = automata.folder / "mine.py"
    path.write_text(
        path.read_text().replace(
            "    model = build(trial.params, trial.dataset)",
            "    raise KeyError('no such layer')\n    model = build(trial.params, trial.dataset)",
        )
    )
    (automata.folder / "job.yaml").write_text(job_text(trial=trial(template="./mine.py")))
    said = automata.run("tune", "job.yaml", "--runner", "inprocess")
    assert said.code == 1
    assert "KeyError: 'no such layer'" in said.err
    job = said.job
    why = automata.run("why", job, "0")
    assert why.code == 0 and "mine.py" in why.out and "raise KeyError" in why.out


@pytest.mark.slow
def test_the_quick_start_through_ray(automata: Automata) -> None:
    quick_start = ROOT / "trial_templates" / "tabular_mlp.yaml"
    said = automata.run(
        "tune", str(quick_start), "-o", "json", "--set", "budget.trials=5",
        "--set", "trial.settings.epochs=10",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert json.loads(said.out)["best"]["confirmed"]["test"]["test_accuracy"] > 0.85
    assert not list(Path(automata.ray_folder).glob("session_*"))


def test_a_job_that_this_machine_cannot_run_is_refused_and_does_not_stay(
    automata: Automata,
) -> None:
    (automata.folder / "job.yaml").write_text(job_text(trial=trial(resources={"cpu": 4096})))
    said = automata.run("tune", "job.yaml")
    assert said.code == 2 and "a trial asks for 4096 CPUs" in said.err
    (job,) = json.loads(automata.run("ls", "-o", "json").out)
    assert job["state"] == "CANCELLED" and "cannot run here" in job["reason"]
