"""Kill anything, lose nothing: real processes, real signals, the command line as it is."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import at_any_parallelism, what_came_of
from tests.end_to_end.process import Automata, Said, ended, has_events, kill
from tests.jobs.build import job_text, trial

pytestmark = pytest.mark.timeout(180)

IN_PROCESS = ("--runner", "inprocess")
# Both are 130 to a shell: Python ends by the signal itself where it met an exec or an import.
INTERRUPTED = (130, -signal.SIGINT)
KILLS = int(os.environ.get("AUTOMATA_SOAK_KILLS", "50"))  # of the nightly soak, each with a resume


def started(automata: Automata, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """`automata tune` in the background, and its job's id once it is stored."""
    process = automata.start("tune", "job.yaml", *arguments)
    found: list[str] = []
    automata.until(
        process, lambda service: bool(found.extend(r.id for r in service.jobs()) or found)
    )
    assert found, ended(process).err
    return process, found[0]


def is_at_its_end(said: Said) -> bool:
    """It succeeded, here or in a driver that was killed on its way out."""
    return said.code == 0 or (said.code == 4 and "already finished: SUCCEEDED" in said.err)


def test_a_job_that_is_killed_and_moved_and_killed_again_ends_as_if_nobody_had(automata, whole):
    process, job = started(automata, *IN_PROCESS)
    killed = 0
    for events in (3, 24, 41):
        automata.until(process, has_events(job, events))
        said = kill(process)
        killed += said.code == -signal.SIGKILL
        if events == 24:  # state lives in one place, which may be moved
            moved = automata.home.parent / "another place"
            automata.home = automata.home.rename(moved)
        process = automata.start("resume", job, *IN_PROCESS)
    said = ended(process)
    assert killed >= 2
    assert is_at_its_end(said), said.err
    assert what_came_of(automata, job) == whole


@pytest.mark.parametrize("events", [0, 6], ids=["while it loads", "while it trains"])
def test_ctrl_c_keeps_everything_and_says_how_to_go_on(automata, whole, events):
    process, job = started(automata, *IN_PROCESS)
    automata.until(process, has_events(job, events))
    os.killpg(process.pid, signal.SIGINT)
    said = ended(process)
    assert said.code in INTERRUPTED, said.err
    assert f"automata resume {job}" in said.err
    assert "Traceback" not in said.err
    listed = automata.run("ls", "-o", "json")
    (row,) = json.loads(listed.out)
    assert row["state"] == "PAUSED"
    automata.finish(job)
    assert what_came_of(automata, job) == whole


def test_of_two_that_resume_at_once_one_wins_and_the_log_is_one(automata, whole):
    process, job = started(automata, *IN_PROCESS)
    automata.until(process, has_events(job, 9))
    kill(process)
    both = [automata.start("resume", job, *IN_PROCESS) for _ in range(2)]
    said = [ended(one) for one in both]
    assert sorted(one.code for one in said) == [0, 4], [one.err for one in said]
    (loser,) = [one for one in said if one.code == 4]
    assert job in loser.err and "Traceback" not in loser.err
    assert what_came_of(automata, job) == whole
    service = automata.service()
    assert len(service.state(job).drivers) == 2  # the killed one and the winner
    service.database.close()


# ---- disks --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(automata: Automata, tmp_path: Path) -> Any:
    """The home on a disk of 3 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    automata.home = disk / "home"
    yield disk
    automata.close()
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("free_kb", [3060, pytest.param(2700, marks=pytest.mark.nightly), 2400])
def test_a_full_disk_is_said_and_nothing_half_written_stays(automata, small_disk, free_kb):
    """3060: no room for the job; 2700: for some of its log; 2400: for some checkpoints."""
    (automata.folder / "job.yaml").write_text(
        job_text(space={"lr": {"loguniform": [0.01, 0.1]}, "hidden": [128]})
    )
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * free_kb))
    said = automata.run("tune", "job.yaml", *IN_PROCESS)
    assert "full" in said.err or "no space left" in said.err or "disk I/O" in said.err, said.err
    assert said.code not in (0, 130)  # a script must notice
    assert "Traceback" not in said.err
    sizes = {p.stat().st_size for p in (automata.home / "blobs").rglob("*") if p.is_file()}
    assert len(sizes) <= 1, "a checkpoint of another length than all others"
    ballast.unlink()
    listed = json.loads(automata.run("ls", "-o", "json").out)
    if free_kb == 3060:
        assert listed == []  # it was never accepted
        return
    (row,) = listed
    assert row["state"] in ("RUNNING", "PAUSED")
    state = automata.finish(row["id"])
    assert state.state == "SUCCEEDED"
    assert state.failed == 0  # the disk was no trial's fault


def test_a_home_that_cannot_be_written_is_said_before_anything_runs(automata):
    automata.home.parent.mkdir(exist_ok=True)
    automata.home.write_text("a file where the folder should be")
    said = automata.run("tune", "job.yaml", *IN_PROCESS)
    assert said.code not in (0, 130) and "Traceback" not in said.err
    assert str(automata.home) in said.err


# ---- through Ray --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_on_ray_that_is_killed_again_and_again_ends_as_if_nobody_had(automata, whole):
    """Three real SIGKILLs of driver and Ray; another process count and order, the same result."""
    process, job = started(automata)
    killed = 0
    for events in (6, 24, 36):
        automata.until(process, has_events(job, events))
        killed += kill(process).code == -signal.SIGKILL
        process = automata.start("resume", job)
    said = ended(process)
    assert is_at_its_end(said), said.err
    assert killed >= 2
    assert at_any_parallelism(what_came_of(automata, job)) == at_any_parallelism(whole)


@pytest.mark.slow
def test_ctrl_c_at_a_terminal_ends_ray_too_and_the_job_goes_on_without_it(automata, whole):
    """A terminal sends its interrupt to the whole group."""
    process, job = started(automata)
    automata.until(process, has_events(job, 8))
    os.killpg(process.pid, signal.SIGINT)
    said = ended(process)
    assert said.code in INTERRUPTED, said.err
    assert f"automata resume {job}" in said.err and "Traceback" not in said.err
    said = automata.run("resume", job, *IN_PROCESS)  # a job may go on under another runner
    assert said.code == 0, said.err
    assert at_any_parallelism(what_came_of(automata, job)) == at_any_parallelism(whole)


DIES_ONCE = """
    import os, pathlib, signal
    if trial.params.hidden == 32:
        flag = pathlib.Path({folder!r}) / "died"
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_a_retry_and_changes_nothing(automata, whole, tmp_path):
    said = automata.run("templates", "cp", "tabular_mlp", "mine.py")
    assert said.code == 0, said.err
    path = automata.folder / "mine.py"
    head, body = path.read_text().split("def train(trial: Trial[Params]) -> None:\n")
    dies = DIES_ONCE.format(folder=str(tmp_path))
    path.write_text(f"{head}def train(trial: Trial[Params]) -> None:{dies}{body}")
    (automata.folder / "job.yaml").write_text(job_text(trial=trial(template="./mine.py")))
    said = automata.run("tune", "job.yaml")
    assert said.code == 0, said.err
    assert "worker lost" in said.err
    service = automata.service()
    state = service.state(said.job)
    service.database.close()
    lost = [t for t in state.trials if t.losses]
    assert [t.params["hidden"] for t in lost] == [32]
    assert [loss.retry for loss in lost[0].losses] == [True]
    assert state.failed == 0
    assert at_any_parallelism(what_came_of(automata, said.job)) == at_any_parallelism(whole)


# ---- by night -----------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.timeout(60 * KILLS + 300)
@pytest.mark.parametrize("runner", ["inprocess", "ray"])
def test_a_soak_of_kills_at_random_moments(automata, whole, runner):
    """AUTOMATA_SOAK_KILLS kills (50) over as many jobs as it takes, each ending as it should."""
    seed = int(time.time())
    rng = random.Random(seed)
    kills, longest = 0, 8.0 if runner == "inprocess" else 25.0
    while kills < KILLS:
        process, job = started(automata, "--runner", runner)
        for _ in range(rng.randint(1, 6)):
            try:
                process.wait(rng.uniform(0, longest))
                break
            except subprocess.TimeoutExpired:
                kill(process)
                kills += 1
            process = automata.start("resume", job, "--runner", runner)
        said = ended(process)
        assert is_at_its_end(said), f"seed {seed}: {said.err}"
        found = what_came_of(automata, job)
        assert at_any_parallelism(found) == at_any_parallelism(whole), f"seed {seed}"
        shutil.rmtree(automata.home)
