"""Every runner against the duties in its protocol: start, report, stop, lose a worker."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from automata_svc.trials.types import Reply, Report, SegmentOrder
from automata_svc.tuning import events as ev
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Asked, DriverStart, SegmentFailed, SubsetBuilt
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.inprocess import InProcess
from automata_svc.tuning.runners.simulated import HandClock
from automata_svc.tuning.state import JobState
from tests.tuning.build import VERSIONS, PlantedCurves, make_plan
from tests.tuning.ray_programs import Programmed
from tests.tuning.test_simulated import Simulator

RAISES = 3  # the trial whose worker fails in every job here
SLOTS = 2
Hook = Callable[[Engine, ev.Event], None]


@dataclass
class Job:
    """An engine whose log can be read and whose every event can be answered."""

    plan: SearchPlan
    slots: int
    clock: Callable[[], float]
    hook: Hook = lambda engine, event: None
    log: MemoryLog = field(default_factory=MemoryLog)

    def __post_init__(self) -> None:
        self.engine = Engine(self.plan, self.log, self.clock, on_events=self._happened)
        self.engine.handle(
            DriverStart(VERSIONS, "sha", self.slots, "test"), SubsetBuilt(None, False, 0.0)
        )

    def _happened(self, state: JobState, events: Sequence[ev.Event]) -> None:
        for event in events:
            self.hook(self.engine, event)

    def events(self, kind: type[ev.Event]) -> list[Any]:
        decoded = (ev.decode(kind_, text) for _, _, kind_, text in self.log.rows)
        return [event for event in decoded if isinstance(event, kind)]


def in_process(plan: SearchPlan, hook: Hook, folder: Path) -> Job:
    program = Programmed(str(folder), raises=RAISES, is_killed=-1, hangs=-1)

    def carry_out(order: SegmentOrder, send: Callable[[Report], Reply]) -> None:
        x = np.zeros((1, 1), dtype=np.float32)
        test = (lambda: x) if order.phase == "test" else None
        program(order, SimpleNamespace(train=SimpleNamespace(x=x), open_test=test), send)  # type: ignore[arg-type]

    job = Job(plan, 1, time.time, hook)
    InProcess(carry_out).run(job.engine)
    return job


def simulated(plan: SearchPlan, hook: Hook, folder: Path) -> Job:
    clock = HandClock()
    job = Job(plan, SLOTS, clock, hook)
    runner = Simulator(PlantedCurves(), clock)
    runner.mishap = lambda order, boundary: (
        SegmentFailed(order.trial, order.segment, "error", "ValueError: cannot be built", False)
        if order.trial == RAISES
        else None
    )
    runner.run(job.engine)
    return job


def through_ray(plan: SearchPlan, hook: Hook, folder: Path) -> Job:
    from automata_svc.tuning.runners.ray import RayRunner
    from automata_svc.tuning.runners.ray_host import RayHost
    from automata_svc.tuning.runners.ray_settings import RaySettings
    from tests.tuning.test_ray_runner import dataset

    program = Programmed(str(folder), raises=RAISES, is_killed=4, hangs=-1)
    job = Job(plan, SLOTS, time.time, hook)
    RayRunner(program, dataset(), host=RayHost(RaySettings())).run(job.engine)
    return job


RUNNERS: Mapping[str, Callable[[SearchPlan, Hook, Path], Job]] = MappingProxyType(
    {"inprocess": in_process, "simulated": simulated, "ray": through_ray}
)
BY_RAY = (pytest.mark.slow, pytest.mark.timeout(180))
every_runner = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=BY_RAY if n == "ray" else ()) for n in RUNNERS]
)


@pytest.fixture(scope="module")
def ray_is_up(ray_temp_dir: Path) -> Iterator[None]:
    from automata_svc.tuning.runners.ray_host import RayHost
    from automata_svc.tuning.runners.ray_settings import RaySettings

    host = RayHost(RaySettings(cpus=SLOTS, temp_dir=ray_temp_dir))
    host.start()
    yield
    host.stop()


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Job]:
    def go(name: str, hook: Hook = lambda engine, event: None) -> Job:
        if name == "ray":
            request.getfixturevalue("ray_is_up")
        plan = make_plan(trials=7, n_train=400, n_val=100, n_test=100)
        return RUNNERS[name](plan, hook, tmp_path)

    return go


@pytest.fixture(scope="module")
def done_jobs() -> dict[str, Job]:
    return {}


@pytest.fixture
def ran(run: Callable[..., Job], done_jobs: dict[str, Job]) -> Callable[[str], Job]:
    """A job that was left to itself; the same one for all who look at it."""

    def look(name: str) -> Job:
        if name not in done_jobs:
            done_jobs[name] = run(name)
        return done_jobs[name]

    return look


@every_runner
def test_what_is_ordered_is_started_once_and_reported(name, ran):
    job = ran(name)
    state = job.engine.state
    assert state.state == "SUCCEEDED", state.move.reason
    started = Counter((e.trial, e.segment) for e in job.events(ev.SegmentStarted))
    assert set(started.values()) == {1}
    done = Counter((e.trial, e.segment) for e in job.events(ev.Passes) if e.done)
    lost = Counter((e.trial, e.segment) for e in job.events(ev.SegmentLost))
    assert started == done + lost  # each ends in its last report or in being lost
    assert job.engine.finished and not state.open and not job.engine.take_orders()


@every_runner
def test_a_segment_goes_on_from_the_checkpoint_of_the_one_before_it(name, ran):
    job = ran(name)
    written: dict[str, tuple[int, int]] = {}
    for event in job.events(ev.Event):
        if isinstance(event, ev.Passes) and event.checkpoint:
            written[event.checkpoint] = (event.trial, event.boundary)
        elif isinstance(event, ev.SegmentStarted) and event.from_boundary > 0:
            assert written[event.checkpoint] == (event.trial, event.from_boundary)


@every_runner
def test_a_worker_that_fails_reaches_the_engine_and_the_job_goes_on(name, ran):
    job = ran(name)
    trial = job.engine.state.trials[RAISES]
    assert trial.state == "FAILED"
    (loss,) = trial.losses
    assert loss.reason == "error" and "cannot be built" in loss.detail
    others = [t for t in job.engine.state.trials if t.number != RAISES]
    assert all(t.values for t in others)


def test_a_template_that_exits_ends_its_trial_and_not_the_driver():
    job = Job(make_plan(trials=3), 1, time.time)

    def leaves(order: SegmentOrder, send: Callable[[Report], Reply]) -> None:
        raise SystemExit(3)

    InProcess(leaves).run(job.engine)
    assert job.engine.state.state == "FAILED"
    assert [loss.detail.splitlines()[-1] for t in job.engine.state.trials for loss in t.losses] == [
        "SystemExit: 3"
    ] * 3


@every_runner
@pytest.mark.parametrize(("verb", "ends"), [("stop", "CANCELLED"), ("pause", "PAUSED")])
def test_a_command_in_the_middle_ends_the_run_and_nothing_is_stored_after_it(name, verb, ends, run):
    reports = 0

    def command(engine: Engine, event: ev.Event) -> None:
        nonlocal reports
        reports += isinstance(event, ev.Passes)
        if reports == 4 and isinstance(event, ev.Passes):
            engine.handle(Asked(verb, "enough"))

    job = run(name, command)
    assert job.engine.state.state == ends
    kinds = [kind for _, _, kind, _ in job.log.rows]
    assert "passes" not in kinds[kinds.index("command") :]
    assert kinds.count("passes") == 4


@every_runner
def test_after_a_run_nothing_of_it_runs_on(name, run):
    before = {thread.name for thread in threading.enumerate()}
    job = run(name)
    stored = len(job.log.rows)
    left = [
        thread
        for thread in threading.enumerate()
        if thread.name not in before and "ray" not in thread.name.lower() and not thread.daemon
    ]
    assert left == []
    time.sleep(0.1)
    assert len(job.log.rows) == stored


@pytest.mark.parametrize("name", [pytest.param("ray", marks=BY_RAY)])
def test_a_worker_that_is_killed_is_retried(name, ran):
    trial = ran(name).engine.state.trials[4]
    (loss,) = trial.losses
    assert (loss.reason, loss.retry) == ("worker lost", True)
    assert trial.values and trial.state != "FAILED"
