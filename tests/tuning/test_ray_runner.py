"""Ray carries orders out: nothing is lost, leaks from trial to trial, or is left running."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from automata_svc.datasets.types import Dataset, Shape, Split
from automata_svc.trials.data import TrialData
from automata_svc.trials.types import PassStats, SegmentOrder
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Asked, DriverStart, SubsetBuilt
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.inprocess import InProcess
from automata_svc.tuning.runners.ray import RayRunner
from automata_svc.tuning.runners.ray_host import RayHost
from automata_svc.tuning.runners.ray_kit import TemplateProgram, WorkerProgram
from automata_svc.tuning.runners.ray_settings import RaySettings
from tests.tuning.build import VERSIONS, make_plan, passes_of
from tests.tuning.ray_programs import Endless, Programmed, Send

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent.parent
SLOTS = 2
SILENT_S = 4.0  # longer than loading a library on a busy machine


@pytest.fixture(scope="module")
def ray_is_up(ray_temp_dir: Path) -> Iterator[None]:
    """One Ray for this module's jobs; a runner that finds one running leaves it alone."""
    host = RayHost(RaySettings(cpus=SLOTS, temp_dir=ray_temp_dir))
    host.start()
    yield
    host.stop()


def dataset() -> Dataset:
    """Two classes that a line separates."""
    rng = np.random.default_rng(0)

    def split(rows: int) -> Split:
        y = rng.integers(0, 2, rows)
        x = (rng.normal(size=(rows, 4)) + 2 * y[:, None]).astype(np.float32)
        return Split(x, y.astype(np.int64))

    test = split(100)
    shape = Shape("line", "tabular", 400, 100, 100, n_classes=2, n_features=4)
    return Dataset(shape, split(400), split(100), open_test=lambda: test)


@dataclass
class Job:
    """A job that Ray has run to its end."""

    engine: Engine
    kinds: list[str]  # of its events, in order
    passes: dict[int, list[PassStats]]

    def facts(self, name: str) -> dict[int, list[float]]:
        """A fact of each pass, by trial."""
        return {
            trial: [stats.facts[name] for stats in passes] for trial, passes in self.passes.items()
        }


def start(plan: SearchPlan, log: MemoryLog) -> Engine:
    engine = Engine(plan, log, time.time)
    engine.handle(DriverStart(VERSIONS, "sha", SLOTS, "ray"), SubsetBuilt(None, False, 0.0))
    return engine


def run(
    plan: SearchPlan,
    program: WorkerProgram,
    poll: Callable[[], None] = lambda: None,
    silent_s: float = 60.0,
) -> Job:
    log = MemoryLog()
    engine = start(plan, log)
    host = RayHost(RaySettings(silent_s=silent_s))
    RayRunner(program, dataset(), host=host, poll=poll).run(engine)
    return Job(engine, [kind for _, _, kind, _ in log.rows], passes_of(log.rows))


# Trials of `eventful` and what befalls them in their first segment.
RAISES, IS_KILLED, HANGS = 3, 4, 5


@pytest.fixture(scope="module")
def eventful(ray_is_up: None, tmp_path_factory: pytest.TempPathFactory) -> Job:
    program = Programmed(str(tmp_path_factory.mktemp("once")), RAISES, IS_KILLED, HANGS)
    plan = make_plan(trials=9, keep=(4, 2, 1), n_train=400, n_val=100, n_test=100)
    return run(plan, program, silent_s=SILENT_S)


def test_a_job_runs_to_its_confirmation_though_workers_fail(eventful: Job) -> None:
    state = eventful.engine.state
    assert state.state == "SUCCEEDED", state.move.reason
    assert state.result is not None
    assert state.result.test == {"test_accuracy": 0.5}


def test_every_order_starts_once_and_goes_on_from_its_checkpoint(eventful: Job) -> None:
    for trial in eventful.engine.state.trials:
        passes = eventful.passes.get(trial.number, [])
        assert trial.passes == len(passes)  # none counted twice, but by a retry
        resumed = {p.number: p.facts["resumed"] for p in passes}
        assert all(resumed[p] == (p > 0) for p in resumed)


def test_an_exception_of_the_template_fails_its_trial_with_its_traceback(eventful: Job) -> None:
    trial = eventful.engine.state.trials[RAISES]
    assert trial.state == "FAILED"
    (loss,) = trial.losses
    assert (loss.reason, loss.retry) == ("error", False)
    assert "ValueError: this configuration cannot be built" in loss.detail
    assert "in cannot_build" in loss.detail  # where it was raised, not where it was caught


def test_a_worker_that_is_killed_costs_a_retry(eventful: Job) -> None:
    trial = eventful.engine.state.trials[IS_KILLED]
    (loss,) = trial.losses
    assert (loss.reason, loss.retry) == ("worker lost", True)
    assert trial.values[0].metric is not None


def test_a_worker_that_hangs_is_killed_and_costs_a_retry_that_says_where_it_stood(
    eventful: Job,
) -> None:
    trial = eventful.engine.state.trials[HANGS]
    (loss,) = trial.losses
    assert (loss.reason, loss.retry) == ("silent", True)
    assert "in wait_for_ever" in loss.detail
    assert trial.values[0].metric is not None


def test_workers_are_kept_from_trial_to_trial(eventful: Job) -> None:
    pids = {pid for pids in eventful.facts("pid").values() for pid in pids}
    killed = 2  # by SIGKILL, for hanging
    assert len(pids) <= SLOTS + killed


def test_rows_lie_in_shared_memory_that_no_trial_can_write_to(eventful: Job) -> None:
    assert {w for ws in eventful.facts("writeable").values() for w in ws} == {0.0}
    assert {o for os in eventful.facts("owns_memory").values() for o in os} == {0.0}
    addresses: dict[float, set[float]] = {}
    pids, places = eventful.facts("pid"), eventful.facts("address")
    for number in pids:
        for pid, place in zip(pids[number], places[number], strict=True):
            addresses.setdefault(pid, set()).add(place)
    assert all(len(found) == 1 for found in addresses.values())  # kept across segments, not copied


TEMPLATE = '''"""Leaves traces wherever a template can, and reports the traces it finds."""

import os
import random
import warnings

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from automata_svc.trials import TrialParams, weighted_mean

CALLS = []


class Params(TrialParams):
    lr: float = 0.1
    epochs: int = 20


def build(params, dataset):
    return torch.nn.Linear(dataset.n_features, dataset.n_classes)


def train(trial):
    found = {
        "draw": float(torch.rand(1)) + random.random() + float(np.random.rand()),
        "threads": torch.get_num_threads(),
        "calls": len(CALLS),
        "double": float(torch.get_default_dtype() == torch.float64),
        "pid": os.getpid(),
    }
    CALLS.append(trial)
    model = build(trial.params, trial.dataset)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params.lr)

    def evaluate(split):
        logits = model(split.x)
        accuracy = (logits.argmax(1) == split.y).float().mean()
        return {"accuracy": accuracy, "loss": cross_entropy(logits, split.y), **found}

    for _ in trial.passes(model, optimizer):
        for rows, labels, weights in trial.batches(model):
            loss = weighted_mean(cross_entropy(model(rows), labels, reduction="none"), weights)
            trial.step(loss, model, optimizer)
        trial.report(evaluate)
    torch.set_num_threads(7)
    torch.set_default_dtype(torch.float64)
    random.seed(1)
'''


@pytest.fixture(scope="module")
def templated(ray_is_up: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Job]:
    """A job of a real template, on Ray and in this process."""
    plan = make_plan(
        n_train=400, n_val=100, n_test=100, subset_rows=80, trials=6, keep=(3, 2, 1),
        space={"lr": {"loguniform": [1e-3, 1.0]}},
    )  # fmt: skip
    sha = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    on_ray, here = (
        TemplateProgram(
            TEMPLATE,
            sha,
            "leaves_traces.py",
            (tmp_path_factory.mktemp(name) / "blobs").as_uri(),
            str(tmp_path_factory.mktemp(f"{name}-prints")),
        )
        for name in ("ray", "here")
    )
    rows = dataset()
    data = TrialData(rows.shape, rows.train, rows.val, open_test=rows.open_test)

    def program(order: SegmentOrder, send: Send) -> None:
        here(order, data, send)

    log = MemoryLog()
    engine = start(plan, log)
    InProcess(program).run(engine)
    return run(plan, on_ray), Job(engine, [kind for _, _, kind, _ in log.rows], passes_of(log.rows))


def test_a_template_is_trained_confirmed_and_tested(templated: tuple[Job, Job]) -> None:
    state = templated[0].engine.state
    assert state.state == "SUCCEEDED", (state.move.reason, [t.losses for t in state.trials])
    assert state.result is not None
    assert state.result.test["test_accuracy"] > 0.9


def test_a_trial_finds_no_trace_of_the_one_before_it_in_its_worker(
    templated: tuple[Job, Job],
) -> None:
    trials = templated[0].engine.state.trials
    assert len({t.latest["val_pid"] for t in trials}) <= SLOTS < len(trials)
    for name, fresh in (("threads", 1.0), ("calls", 0.0), ("double", 0.0)):
        assert {t.latest[f"val_{name}"] for t in trials} == {fresh}, name


def test_a_job_on_ray_is_the_job_in_one_process_to_the_last_digit(
    templated: tuple[Job, Job],
) -> None:
    on_ray, here = (values_of(job) for job in templated)
    assert on_ray == here
    draws = [values["val_draw"] for values in on_ray[0]]
    assert len(set(draws)) == len(draws)  # keyed by trial, whichever worker draws


def values_of(job: Job) -> tuple[list[dict[str, float]], dict[str, float]]:
    """The latest values of each trial and the test values of the best, but for process ids."""
    state = job.engine.state
    assert state.result is not None
    every = [dict(trial.latest) for trial in state.trials] + [dict(state.result.test)]
    for values in every:
        values.pop("val_pid", None)
        values.pop("test_pid", None)
    return every[:-1], every[-1]


def test_a_job_that_is_stopped_from_another_thread_ends_in_seconds(ray_is_up: None) -> None:
    engine = start(make_plan(trials=4, n_train=400, n_val=100, n_test=100), MemoryLog())
    host = RayHost(RaySettings())
    runner = threading.Thread(target=RayRunner(Endless(), dataset(), host=host).run, args=[engine])
    runner.start()
    while not any(trial.passes for trial in engine.state.trials):
        time.sleep(0.05)
    engine.handle(Asked("stop", "enough"))
    runner.join(20)
    assert not runner.is_alive()
    assert engine.state.state == "CANCELLED"


def test_what_poll_raises_ends_the_run(ray_is_up: None) -> None:
    class LeaseIsGone(Exception):
        pass

    def poll() -> None:
        raise LeaseIsGone

    with pytest.raises(LeaseIsGone):
        run(make_plan(trials=4, n_train=400, n_val=100, n_test=100), Endless(), poll=poll)


INTERRUPTED = """
import sys
from pathlib import Path
from tests.tuning.ray_programs import Endless
from tests.tuning.build import make_plan
from tests.tuning.test_ray_runner import MemoryLog, RayHost, RayRunner, RaySettings, dataset, start

def poll():
    if any(trial.passes for trial in engine.state.trials):
        print("trains", flush=True)

engine = start(make_plan(trials=4, n_train=400, n_val=100, n_test=100), MemoryLog())
host = RayHost(RaySettings(cpus=2, temp_dir=Path(sys.argv[1])))
host.prewarm()
try:
    RayRunner(Endless(), dataset(), host=host, poll=poll).run(engine)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_ends_the_job_and_leaves_nothing_of_ray_running(ray_temp_dir: Path) -> None:
    folder = ray_temp_dir / "i"
    folder.mkdir()
    driver = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert driver.stdout is not None
    assert driver.stdout.readline() == "trains\n"
    assert running_in(folder)  # the search below would find them
    assert [place.stat().st_mode & 0o077 for place in folder.iterdir()] == [0]
    os.kill(driver.pid, signal.SIGINT)
    said, errors = driver.communicate(timeout=60)
    assert said.endswith("interrupted\n"), errors
    assert driver.returncode == 0
    ends = time.monotonic() + 20
    while (left := running_in(folder)) and time.monotonic() < ends:
        time.sleep(0.2)
    assert left == []
    assert list(folder.iterdir()) == []


def running_in(folder: Path) -> list[str]:
    """Command lines of the processes that were started with something of this folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            parts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
        except OSError:
            continue  # ended meanwhile, or no process
        if any(str(folder).encode() in part for part in parts) and process.name.isdigit():
            command = parts[0].replace(b"\0", b" ").decode(errors="replace").strip()
            if command and "INTERRUPTED" not in command:
                found.append(command)
    return found
