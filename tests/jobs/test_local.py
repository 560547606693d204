"""The verbs on this machine, in one process, on real data."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from automata_svc.datasets.types import Dataset
from automata_svc.errors import Conflict, NotFound, SpecError, Unavailable
from automata_svc.jobs import workplace
from automata_svc.jobs.joblog import DatabaseLog
from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings
from automata_svc.tuning import events as ev
from automata_svc.tuning.state import JobState
from tests.jobs.build import RUNNER, job_text, trial
from tests.tuning.build import passes_of
from tests.tuning.test_crash import outcome

ROOT = Path(__file__).resolve().parents[2]


def drive(service: LocalService, job: str, watch: Any = None) -> JobState:
    return service.drive(job, watch, RUNNER)


def run(service: LocalService, **spec: Any) -> JobState:
    return drive(service, service.submit(job_text(**spec), "job.yaml"))


Hook = Callable[[JobState, ev.Event], None]


def on_events(hook: Hook) -> Callable[[JobState, Sequence[ev.Event]], None]:
    def watch(state: JobState, happened: Sequence[ev.Event]) -> None:
        for event in happened:
            hook(state, event)

    return watch


class Died(BaseException):
    """The driver's process is gone."""


def dies_at(reports: int) -> Callable[[JobState, Sequence[ev.Event]], None]:
    """A watcher under which the driver dies after this many reports."""
    seen = 0

    def hook(state: JobState, event: ev.Event) -> None:
        nonlocal seen
        seen += isinstance(event, ev.Passes)
        if seen >= reports:
            raise Died

    return on_events(hook)


@pytest.fixture(autouse=True)
def polls_at_once(monkeypatch):
    """Commands are looked for at every report, not once a second."""
    from automata_svc.jobs import drive

    monkeypatch.setattr(drive, "POLL_S", 0.0)


# ---- submit and drive ---------------------------------------------------------------------------


def test_a_submitted_job_runs_to_a_confirmed_winner(finished):
    service, job = finished
    row, state = service.find(job), service.state(job)
    assert row.state == state.state == "SUCCEEDED"
    assert row.summary["best"]["trial"] == state.result.trial
    assert set(state.result.test) == {"test_accuracy", "test_loss"}
    assert state.result.test["test_accuracy"] > 0.5
    assert service.replay(job) == []
    assert state.price <= 3


def test_a_job_is_stored_before_it_runs(service):
    job = service.submit(job_text(), "job.yaml")
    assert service.find(job).state == "QUEUED"
    assert service.state(job).trials == []
    assert service.spec(job)["spec"]["trial"]["settings"]["epochs"] == 4
    assert service.template(job)["text"].startswith('"""')


@pytest.mark.parametrize("first", ["database", "store"])
def test_a_new_home_is_its_users_alone(tmp_path, first):
    home = tmp_path / "deep" / "home"
    with closing(LocalService(Settings.from_env({"AUTOMATA_HOME": str(home)}))) as one:
        getattr(one, first)
        assert home.stat().st_mode & 0o077 == 0


def test_a_job_with_mistakes_stores_nothing(service):
    with pytest.raises(SpecError):
        service.submit(job_text(subset={"fraction": 7}), "job.yaml")
    assert service.jobs() == []


def test_the_same_job_twice_gives_the_same_result(service, finished):
    first = finished[0].state(finished[1])
    assert outcome(run(service)) == outcome(first)


def test_another_seed_gives_other_proposals(service, finished):
    first = finished[0].state(finished[1])
    second = run(service, search={"seed": 1})
    assert [t.params for t in first.trials] != [t.params for t in second.trials]


@pytest.mark.parametrize("strategy", ["full", "random", "adaptive_random", "automata", "milo"])
def test_each_strategy_comes_through_and_its_price_is_what_was_planned(service, strategy):
    text = job_text(subset={"strategy": strategy})
    planned = service.plan(text, "job.yaml")
    job = service.submit(text, "job.yaml")
    state = drive(service, job)
    assert state.state == "SUCCEEDED", state.move.reason
    assert state.price == pytest.approx(planned.price, rel=0.02)
    rows = [(seq, at, kind, json.dumps(body)) for seq, at, kind, body in service.events(job)]
    assert state.cost.train_rows == sum(s.rows for t in passes_of(rows).values() for s in t)


@pytest.mark.parametrize("scheduler", ["fifo", "asha", "asha_promote"])
def test_each_scheduler_comes_through(service, scheduler):
    state = run(service, scheduler={"type": scheduler}, search={"type": "tpe"})
    assert state.state == "SUCCEEDED"
    assert state.result is not None and "test_accuracy" in state.result.test


def test_a_full_search_at_share_1_is_its_own_confirmation(service):
    state = run(
        service,
        subset={"strategy": "full"},
        scheduler={"type": "fifo", "max_share": 1.0},
        budget={"trials": 2},
    )
    assert state.state == "SUCCEEDED", state.move.reason
    assert state.result is not None and state.result.share == 1.0
    assert state.cost.train_rows == 2 * state.plan.total_rows


def test_a_confirmation_from_the_start_trains_its_winner_again(service):
    spec = {"confirm": {"resume": False}, "budget": {"trials": 3}}
    state = run(service, **spec)
    assert state.state == "SUCCEEDED", state.move.reason
    assert state.result is not None and "from the start" in state.result.how
    winner = state.trials[state.result.trial]
    searched = state.plan.table.rows_at(winner.search_boundary)
    assert winner.cost.train_rows == searched + state.plan.total_rows
    job = service.submit(job_text(**spec), "job.yaml")
    with pytest.raises(Died):  # in the middle of that confirmation
        drive(service, job, dies_at(state.tally.reports - 2))
    assert outcome(drive(service, job)) == outcome(state)


def test_trials_are_a_frame_with_parameters_as_columns(finished):
    service, job = finished
    frame = service.trials_frame(job)
    assert len(frame) == 6
    assert {"trial", "state", "rung", "val_accuracy", "price", "lr", "hidden"} <= set(frame.columns)
    assert frame["price"].sum() == pytest.approx(service.state(job).price)
    assert frame["state"].value_counts()["COMPLETED"] == 1


# ---- commands -----------------------------------------------------------------------------------


def test_pausing_again_and_again_changes_nothing_decided(service, finished):
    whole = outcome(finished[0].state(finished[1]))
    job = service.submit(job_text(), "job.yaml")
    paused_at: set[int] = set()

    def pause(state: JobState, event: ev.Event) -> None:
        reached = sum(len(ranking) for ranking in state.rungs)
        if isinstance(event, ev.Passes) and reached in (2, 7, 9) and reached not in paused_at:
            paused_at.add(reached)
            service.pause(job, "lunch")

    for _ in range(4):
        state = drive(service, job, on_events(pause))
        if state.state != "PAUSED":
            break
        assert service.find(job).state == "PAUSED"
    assert paused_at == {2, 7, 9}
    assert outcome(state) == whole


def test_a_stop_reaches_the_driver_and_ends_the_job_for_good(service):
    job = service.submit(job_text(), "job.yaml")

    def stop(state: JobState, event: ev.Event) -> None:
        if isinstance(event, ev.Passes) and len(state.rungs[0]) == 2:
            service.stop(job, "seen enough")

    state = drive(service, job, on_events(stop))
    assert state.state == "CANCELLED" and state.move.reason == "seen enough"
    assert service.store.keys(f"checkpoints/{job}") == []
    for verb in (service.pause, lambda j: drive(service, j)):
        with pytest.raises(Conflict, match="already finished: CANCELLED"):
            verb(job)


def test_a_stop_that_meets_a_driver_on_its_way_out_is_not_left_lying(service):
    job = service.submit(job_text(), "job.yaml")

    def ask(state: JobState, event: ev.Event) -> None:
        if isinstance(event, ev.JobState) and event.state == "RUNNING":
            service.pause(job)
        elif isinstance(event, ev.JobState) and event.state == "PAUSED":
            service.stop(job)  # the driver ends, and looks for commands no more

    drive(service, job, on_events(ask))
    assert service.find(job).state == "CANCELLED"
    assert service.database.waiting_commands(job) == []


def test_a_job_that_nobody_drives_is_stopped_at_once(service):
    job = service.submit(job_text(), "job.yaml")
    with pytest.raises(Died):
        drive(service, job, dies_at(4))
    assert service.find(job).state == "RUNNING"
    service.stop(job, "no more")
    assert service.find(job).state == "CANCELLED"
    assert service.store.keys(f"checkpoints/{job}") == []


def test_a_pause_before_the_first_run_is_kept(service):
    job = service.submit(job_text(), "job.yaml")
    service.pause(job)
    assert service.find(job).state == "PAUSED"
    assert drive(service, job).state == "SUCCEEDED"


def test_a_command_for_a_driver_that_is_gone_does_not_reach_the_next_one(service, finished):
    """Two pauses: the first is obeyed, and the second must not meet whoever resumes."""
    job = service.submit(job_text(), "job.yaml")

    def pause(state: JobState, event: ev.Event) -> None:
        if isinstance(event, ev.JobState) and event.state == "PAUSED":
            service.pause(job, "again, to be sure")
        if isinstance(event, ev.Passes) and len(state.rungs[0]) == 2:
            service.pause(job)

    assert drive(service, job, on_events(pause)).state == "PAUSED"
    assert drive(service, job).state == "SUCCEEDED"


def test_an_unknown_job_is_named_with_its_nearest(service):
    service.submit(job_text(), "job.yaml")
    with pytest.raises(NotFound, match="digits-small"):
        service.find("digits-smal")


# ---- dying and going on -------------------------------------------------------------------------


@pytest.mark.parametrize("reports", [1, 6, 9, 11, 14])
def test_a_driver_that_dies_leaves_a_job_that_ends_as_it_would_have(service, finished, reports):
    whole = outcome(finished[0].state(finished[1]))
    job = service.submit(job_text(), "job.yaml")
    with pytest.raises(Died):
        drive(service, job, dies_at(reports))
    state = drive(service, job)
    assert outcome(state) == whole
    assert service.replay(job) == []
    assert len(state.drivers) == 2


def test_what_a_dead_driver_left_behind_is_swept(service):
    job = service.submit(job_text(), "job.yaml")
    with pytest.raises(Died):
        drive(service, job, dies_at(5))
    orphan = f"checkpoints/{job}/4/9-s3.pt"
    service.store.put(orphan, b"of a report that was never stored")
    other = "checkpoints/job_of_somebody_else/0/1-s0.pt"
    service.store.put(other, b"not ours")
    seen: list[bool] = []

    def look(state: JobState, event: ev.Event) -> None:
        seen.append(service.store.exists(orphan))

    state = drive(service, job, on_events(look))
    assert not seen[-1] and state.state == "SUCCEEDED"
    assert service.store.exists(other)
    assert service.store.keys(f"checkpoints/{job}") == [state.result.checkpoint]


def test_an_interrupt_leaves_the_job_paused_and_is_raised_again(service, finished):
    job = service.submit(job_text(), "job.yaml")

    def interrupt(state: JobState, event: ev.Event) -> None:
        if isinstance(event, ev.Passes) and len(state.rungs[0]) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(service, job, on_events(interrupt))
    row = service.find(job)
    assert (row.state, row.reason) == ("PAUSED", "interrupted")
    assert outcome(drive(service, job)) == outcome(finished[0].state(finished[1]))


@pytest.mark.parametrize("stored", [False, True], ids=["before it stores", "after it stores"])
@pytest.mark.parametrize("nth", [2, 9])
def test_an_interrupt_between_deciding_and_acting_leaves_the_job_paused_too(
    service, finished, monkeypatch, nth, stored
):
    append, seen = DatabaseLog.append, 0

    def interrupted(self: DatabaseLog, *given: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == nth and not stored:
            raise KeyboardInterrupt
        append(self, *given)
        if seen == nth:
            raise KeyboardInterrupt

    job = service.submit(job_text(), "job.yaml")
    monkeypatch.setattr(DatabaseLog, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drive(service, job)
    row = service.find(job)
    assert (row.state, row.reason) == ("PAUSED", "interrupted")
    assert outcome(drive(service, job)) == outcome(finished[0].state(finished[1]))


def test_an_interrupt_while_subsets_are_built_leaves_the_job_paused_too(service, monkeypatch):
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    job = service.submit(job_text(subset={"strategy": "milo"}), "job.yaml")
    with monkeypatch.context() as patched:
        patched.setattr(workplace.InProcessWorkplace, "build_subset", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drive(service, job)
    assert service.find(job).state == "PAUSED"
    assert drive(service, job).state == "SUCCEEDED"


def test_another_folder_resumes_a_job_whose_data_was_named_from_here(
    service, tmp_path, monkeypatch
):
    (tmp_path / "mine.csv").write_text(csv_text())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    job = service.submit(
        job_text(trial=trial(dataset={"path": "./mine.csv", "target": "label"})), "job.yaml"
    )
    with pytest.raises(Died):
        drive(service, job, dies_at(3))
    monkeypatch.chdir(tmp_path / "elsewhere")
    state = drive(service, job)
    assert state.state == "SUCCEEDED"
    assert service.save_best(job, tmp_path / "best")


def test_data_that_changed_under_a_job_is_refused(service, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text())
    text = job_text(trial=trial(dataset={"path": str(path), "target": "label"}))
    job = service.submit(text, "job.yaml")
    with pytest.raises(Died):
        drive(service, job, dies_at(3))
    path.write_text(csv_text(shift=1))
    with pytest.raises(Conflict, match="changed since the job was submitted"):
        drive(service, job)
    path.write_text(csv_text())
    assert drive(service, job).state == "SUCCEEDED"


# ---- two drivers --------------------------------------------------------------------------------

SECOND = """
import sys
from automata_svc.errors import Conflict
from automata_svc.jobs.local import LocalService

service = LocalService()
print("ready", flush=True)
sys.stdin.readline()
try:
    state = service.drive(sys.argv[1], None, "inprocess")
    print(state.state)
except Conflict as conflict:
    print("conflict:", conflict)
"""


def test_of_two_drivers_one_wins_and_the_log_is_one(service, finished):
    job = service.submit(job_text(), "job.yaml")
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", SECOND, job], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for driver in drivers:
        assert driver.stdout is not None and driver.stdout.readline() == "ready\n"
    said = []
    for driver in drivers:  # both go before either is waited for
        assert driver.stdin is not None
        driver.stdin.write("go\n")
        driver.stdin.flush()
    for driver in drivers:
        out, errors = driver.communicate(timeout=60)
        assert driver.returncode == 0, errors
        said.append(out.strip())
    assert said.count("SUCCEEDED") == 1, said
    (loser,) = [text for text in said if text != "SUCCEEDED"]
    assert loser.startswith("conflict:") and job in loser
    state = service.state(job)
    assert len(state.drivers) == 1
    assert outcome(state) == outcome(finished[0].state(finished[1]))


def test_a_second_driver_in_this_process_is_refused_while_the_first_runs(service):
    job = service.submit(job_text(), "job.yaml")
    refused: list[str] = []

    def second(state: JobState, event: ev.Event) -> None:
        if isinstance(event, ev.Passes) and not refused:
            with closing(LocalService(service.settings)) as another:
                with pytest.raises(Conflict) as conflict:
                    another.drive(job, None, RUNNER)
            refused.append(str(conflict.value))

    assert drive(service, job, on_events(second)).state == "SUCCEEDED"
    assert job in refused[0]


# ---- the winner ---------------------------------------------------------------------------------


def test_the_winner_is_saved_with_an_example_that_runs(finished, tmp_path):
    service, job = finished
    folder = tmp_path / "best"
    written = service.save_best(job, folder)
    assert {path.name for path in written} == {
        "model.pt", "params.json", "dataset.json", "tabular_mlp.py", "example.py"
    }  # fmt: skip
    assert all(path.is_file() for path in written)
    params = json.loads((folder / "params.json").read_text())
    state = service.state(job)
    assert params == {**state.plan.fixed, **state.trials[state.result.trial].params}
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=folder, capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loaded") and "classes: 0, 1" in done.stdout


@pytest.mark.parametrize("name", ["example", "json", "class", "2nd"])
def test_a_winner_whose_template_has_an_awkward_name_is_saved_with_an_example_that_runs(
    service, tmp_path, name
):
    (tmp_path / f"{name}.py").write_text(
        (ROOT / "trial_templates" / "tabular_mlp.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    rows = "".join(f"{i % 7},{i if i % 5 else ''},{i % 2}\n" for i in range(60))
    table = 'a,"b\nraise SystemExit(3)",y\n' + rows  # a note says what a missing b becomes
    (tmp_path / "own.csv").write_text(table, encoding="utf-8")
    what = trial(
        template=str(tmp_path / f"{name}.py"),
        dataset={"path": str(tmp_path / "own.csv"), "target": "y"},
    )
    space = {"hidden": {"quniform": [8, 24, 8]}}  # 8.0, where the template declares an int
    job = service.submit(job_text(trial=what, space=space, budget={"trials": 3}), "job.yaml")
    assert drive(service, job).state == "SUCCEEDED"
    service.save_best(job, tmp_path / "best")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path / "best", capture_output=True, text=True,
        timeout=60, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "own.csv").write_text(table + "1,2,0\n", encoding="utf-8")
    with pytest.raises(Conflict, match=r"dataset 'own.csv' changed"):
        service.save_best(job, tmp_path / "again")


def test_a_folder_that_cannot_be_written_is_said(finished, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Unavailable, match=r"best: cannot be written: Not a directory"):
        finished[0].save_best(finished[1], tmp_path / "file" / "best")


def test_the_saved_weights_are_those_that_were_tested(finished, tmp_path):
    import torch

    from automata_svc.datasets import Source, load_dataset
    from automata_svc.trials.module import load_module
    from automata_svc.trials.params import fill

    service, job = finished
    service.save_best(job, tmp_path / "best")
    template, state = service.template(job), service.state(job)
    module = load_module(template["text"], template["sha256"], template["path"])
    data = load_dataset(Source(name="digits"), service.settings)
    params = fill(module.Params, json.loads((tmp_path / "best" / "params.json").read_text()))
    model = module.build(params, data.shape)
    model.load_state_dict(torch.load(tmp_path / "best" / "model.pt", weights_only=True))
    test = data.open_test()
    with torch.no_grad():
        right = model(torch.from_numpy(test.x)).argmax(1).numpy() == test.y
    assert right.mean() == pytest.approx(state.result.test["test_accuracy"])


def test_a_folder_that_holds_something_is_left_alone(finished, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(SpecError, match="not empty"):
        finished[0].save_best(finished[1], tmp_path)


def test_a_job_without_a_winner_has_none_to_save(service, tmp_path):
    job = service.submit(job_text(), "job.yaml")
    with pytest.raises(Conflict, match="no confirmed winner"):
        service.save_best(job, tmp_path / "best")


# ---- the test split -----------------------------------------------------------------------------


def test_the_test_split_is_opened_once_after_the_search(service, monkeypatch):
    opened: list[str] = []
    phases: list[str] = []
    load = workplace.load_dataset

    def instrumented(*args: Any, **kwargs: Any) -> Dataset:
        dataset = load(*args, **kwargs)
        open_test = dataset.open_test

        def opening() -> Any:
            opened.append(phases[-1])
            return open_test()

        return Dataset(**{**vars(dataset), "open_test": opening})

    monkeypatch.setattr(workplace, "load_dataset", instrumented)

    def phase(state: JobState, event: ev.Event) -> None:
        if isinstance(event, ev.SegmentStarted):
            phases.append(event.phase)

    job = service.submit(job_text(), "job.yaml")
    assert drive(service, job, on_events(phase)).state == "SUCCEEDED"
    assert set(phases) == {"search", "confirm", "test"}
    assert opened and set(opened) == {"test"}


# ---- bring your own -----------------------------------------------------------------------------


def mine(service: LocalService, folder: Path, *edits: tuple[str, str]) -> str:
    """A copy of tabular_mlp with texts replaced, as a user would make one."""
    from automata_svc.trials.templates import find_template

    text = find_template("tabular_mlp", service.settings).text
    for before, after in edits:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def csv_text(shift: int = 0) -> str:
    """300 rows of two numbers, a category and a missing cell; three classes a tree could tell."""
    lines = ["size,weight,colour,label"]
    for i in range(300):
        kind = i % 3
        size = kind * 2 + (i * 104729 % 100) / 100 + shift
        weight = "" if i % 50 == 7 else f"{kind + (i * 7919 % 100) / 150:.3f}"
        colour = ("red", "green", "blue")[(kind + (i % 11 == 0)) % 3]
        lines.append(f"{size:.3f},{weight},{colour},{'abc'[kind]}")
    return "\n".join(lines) + "\n"


def test_an_edited_copy_of_a_template_runs_and_is_what_is_kept(service, tmp_path):
    path = mine(
        service,
        tmp_path,
        ("dropout: float = 0.0", "dropout: float = 0.0\n    slope: float = 0.01"),
        ("nn.ReLU()", "nn.LeakyReLU(params.slope)"),
    )
    space = {"lr": {"loguniform": [0.01, 0.1]}, "slope": {"uniform": [0.0, 0.3]}}
    job = service.submit(job_text(trial=trial(template=path), space=space), "job.yaml")
    Path(path).write_text("raise SystemExit('edited after submit')")
    state = drive(service, job)
    assert state.state == "SUCCEEDED"
    assert all(0 <= t.params["slope"] <= 0.3 for t in state.trials)
    assert "LeakyReLU" in service.template(job)["text"]
    written = {p.name for p in service.save_best(job, tmp_path / "best")}
    assert "mine.py" in written


def test_a_csv_by_path_with_categories_and_missing_values_is_tuned_on(service, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_text())
    state = run(service, trial=trial(dataset={"path": str(path), "target": "label"},
                                     settings={"epochs": 8}))  # fmt: skip
    assert state.state == "SUCCEEDED"
    assert state.result is not None and state.result.test["test_accuracy"] > 0.8


def test_arrays_by_path_are_tuned_on_with_their_own_splits(service, tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 5)) + 2 * y[:, None]
    rows = np.split(np.arange(400), [300, 350])
    splits = dict(zip(("train_idx", "val_idx", "test_idx"), rows, strict=True))
    np.savez(tmp_path / "mine.npz", X=x, y=y, class_names=np.array(["no", "yes"]), **splits)
    state = run(service, trial=trial(dataset=str(tmp_path / "mine.npz"), settings={"epochs": 8}))
    assert (state.plan.n_train, state.plan.n_val, state.plan.n_test) == (300, 50, 50)
    assert state.result is not None and state.result.test["test_accuracy"] > 0.9


def test_texts_by_path_are_tuned_on(service, tmp_path):
    words = {"good": ["fine", "great", "lovely"], "bad": ["awful", "poor", "dull"]}
    lines = [
        json.dumps({"text": f"a {words[label][i % 3]} film number {i % 17}", "label": label})
        for i in range(200)
        for label in words
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    state = run(
        service,
        trial={"template": "text_classifier", "dataset": str(tmp_path / "mine.jsonl"),
               "settings": {"epochs": 4, "embedding": 8, "hidden": 8}},
        space={"lr": {"loguniform": [0.01, 0.05]}},
    )  # fmt: skip
    assert state.state == "SUCCEEDED"
    assert state.result is not None and state.result.test["test_accuracy"] > 0.9


RAISES = (
    "    model = build(trial.params, trial.dataset).to(trial.device)",
    "    if trial.params.hidden == 32:\n        raise RuntimeError('32 units are unlucky')\n"
    "    model = build(trial.params, trial.dataset).to(trial.device)",
)


def test_a_template_that_raises_fails_its_trial_with_its_own_traceback(service, tmp_path):
    path = mine(service, tmp_path, RAISES)
    state = run(service, trial=trial(template=path))
    assert state.state == "SUCCEEDED"
    failed = [t for t in state.trials if t.state == "FAILED"]
    assert failed and all(t.params["hidden"] == 32 for t in failed)
    assert len(failed) == sum(t.params["hidden"] == 32 for t in state.trials)
    for one in failed:
        (loss,) = one.losses
        assert "RuntimeError: 32 units are unlucky" in loss.detail
        assert f'File "{path}"' in loss.detail and "raise RuntimeError" in loss.detail
        assert one.move.reason == "error: RuntimeError: 32 units are unlucky"


def test_more_failures_than_allowed_fail_the_job_with_the_count(service, tmp_path):
    path = mine(service, tmp_path, RAISES)
    state = run(
        service,
        trial=trial(template=path),
        space={"hidden": [32], "lr": {"uniform": [0.1, 0.2]}},
        failure={"max_failed_trials": 2},
    )
    assert state.state == "FAILED"
    assert "3 trials failed" in state.move.reason
    assert len(state.trials) == 3


def test_a_checkpoint_that_does_not_fit_fails_its_trial_and_is_named(service, tmp_path):
    """A model whose shape depends on something that is no parameter."""
    flag = tmp_path / "promoted"
    path = mine(
        service,
        tmp_path,
        ("import torch\nfrom torch import nn", "import os\n\nimport torch\nfrom torch import nn"),
        ("nn.Linear(width, dataset.n_classes)",
         f"nn.Linear(width, dataset.n_classes, bias=not os.path.exists({str(flag)!r}))"),
    )  # fmt: skip
    job = service.submit(job_text(trial=trial(template=path)), "job.yaml")

    def change(state: JobState, event: ev.Event) -> None:
        if isinstance(event, ev.Decision) and event.verdict == "promote" and event.rung == 0:
            flag.touch()

    state = drive(service, job, on_events(change))
    assert state.state == "FAILED"
    lost = [loss for t in state.trials for loss in t.losses]
    assert lost and {loss.reason for loss in lost} == {"checkpoint"}
    assert all("checkpoints/" in loss.detail and "bias" in loss.detail for loss in lost)


def test_a_loss_that_is_not_finite_stops_the_trial_and_not_the_job(service, tmp_path):
    path = mine(
        service,
        tmp_path,
        ("losses = cross_entropy(model(rows), labels, reduction=\"none\")",
         "losses = cross_entropy(model(rows), labels, reduction=\"none\")\n"
         "            losses = losses * (float(\"nan\") if trial.params.hidden == 32 else 1.0)"),
    )  # fmt: skip
    state = run(service, trial=trial(template=path))
    assert state.state == "SUCCEEDED"
    stopped = [t for t in state.trials if t.params["hidden"] == 32]
    assert stopped and all(t.state == "STOPPED" for t in stopped)
    assert all("not finite" in t.move.reason for t in stopped)


# ---- subsets ------------------------------------------------------------------------------------


def milo(service: LocalService, name: str = "one", **spec: Any) -> JobState:
    text = job_text(name, subset={"strategy": "milo", "fraction": 0.2}, **spec)
    return drive(service, service.submit(text, "job.yaml"))


def test_two_jobs_share_one_artefact_and_the_second_pays_nothing_for_it(service):
    first, second = milo(service, "one"), milo(service, "two")
    assert first.subset is not None and second.subset is not None
    assert first.subset.artefact == second.subset.artefact
    assert (first.subset.hit, second.subset.hit) == (False, True)
    assert second.subset.forward_rows == 0
    assert outcome(first)["proposals"] == outcome(second)["proposals"]
    assert first.result.test == second.result.test


def test_a_damaged_artefact_is_found_and_built_again(service):
    first = milo(service, "one")
    assert first.subset is not None and first.subset.artefact is not None
    artefact = first.subset.artefact
    keys = service.store.keys(f"subsets/{artefact}")
    arrays = [key for key in keys if not key.endswith("manifest.json")]
    assert len(arrays) == 1
    good = service.store.get(arrays[0])
    service.store.put(arrays[0], good[: len(good) // 2])
    second = milo(service, "two")
    assert second.subset is not None and not second.subset.hit
    assert second.subset.note
    assert second.result.test == first.result.test
    assert service.store.get(arrays[0]) == good


def test_a_plan_says_whether_its_artefact_is_already_stored(service):
    text = job_text(subset={"strategy": "milo", "fraction": 0.2})
    before = service.plan(text, "job.yaml").artefact
    assert before is not None and not before["stored"]
    state = drive(service, service.submit(text, "job.yaml"))
    after = service.plan(text, "job.yaml").artefact
    assert after is not None and after["stored"]
    assert state.subset is not None and state.subset.artefact == after["key"]


# ---- budgets of time
# ------------------------------------------------------------------------------


def test_time_that_is_over_ends_the_search_and_confirms_the_best(service, monkeypatch):
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    state = run(service, budget={"trials": 6, "wall_clock": "1m"})
    assert state.state == "SUCCEEDED"
    assert state.move.reason.startswith("budget: 60 s of driver time are over")
    assert len(state.trials) < 6
    assert state.result is not None
