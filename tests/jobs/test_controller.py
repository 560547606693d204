"""What a controller does, step by step, over a small cluster that does as it is told."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from automata_svc.database import this_process
from automata_svc.errors import Conflict, Unavailable
from automata_svc.jobs import controller, launch
from automata_svc.jobs.attempt import Attempt, Ending, carry_out
from automata_svc.jobs.controller import Controller, Policy
from automata_svc.jobs.hosted import Hosted
from automata_svc.jobs.launch import Node, Order, Word, driver_id, job_of
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.moves import faults_in_a_row, move
from automata_svc.jobs.reconcile import (
    LEASELESS_S,
    LEAVE_S,
    PENDING_S,
    START_S,
    Seen,
    how_it_ended,
    next_step,
)
from automata_svc.jobs.tenancy import Caller
from automata_svc.jobs.workplace import WORKPLACES
from automata_svc.tuning.inputs import VERBS
from automata_svc.tuning.state import JOB_ENDS, JOB_MOVES
from tests.jobs.build import job_text, trial

ANYBODY = Caller("", "test", None, frozenset({"admin"}))
NOBODY = "elsewhere:1:0"  # a lease's owner on another machine


@dataclass
class Cluster:
    """Ray, as a controller sees it; a test decides what becomes of the drivers."""

    machines: Sequence[Node] = (Node(2.0, 0.0, 20.0),)
    words: dict[str, Word] = field(default_factory=dict)
    submitted: list[Order] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    is_away: bool = False

    def launcher(self) -> Cluster:
        if self.is_away:
            raise Unavailable("it is being started")
        return self

    def lost(self) -> None:
        """Somebody noticed."""

    def submit(self, order: Order) -> None:
        self._answer()
        self.submitted.append(order)
        self.words.setdefault(order.id, Word(order.id, "RUNNING", ""))

    def look(self, driver: str) -> Word | None:
        self._answer()
        return self.words.get(driver)

    def stop(self, driver: str) -> None:
        self._answer()
        self.stopped.append(driver)
        self.ends(driver, "STOPPED")

    def logs(self, driver: str) -> str:
        return "what it said"

    def drivers(self) -> Sequence[Word]:
        self._answer()
        return [word for word in self.words.values() if not word.is_over]

    def nodes(self) -> Sequence[Node]:
        self._answer()
        return self.machines

    def ends(
        self, driver: str, status: str = "FAILED", message: str = "exit code 1: oh no"
    ) -> None:
        self.words[driver] = Word(driver, status, message)

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("Ray cannot be reached")


@dataclass
class Clock:
    """Time that also the database's rows are judged by."""

    ahead: float = 0.0

    def __call__(self) -> float:
        import time

        return time.time() + self.ahead


class World:
    """A service with its controller."""

    def __init__(self, service: LocalService, policy: Policy | None = None) -> None:
        self.service, self.cluster, self.clock = service, Cluster(), Clock()
        self.policy = policy or Policy(pauses_s=(0.0,))
        self.controller = self.another()

    def another(self, owner: str | None = None) -> Controller:
        """As after a restart: it remembers nothing."""
        return Controller(self.service, self.cluster, self.policy, owner, self.clock)

    def submit(self, name: str = "digits-small", **spec: object) -> str:
        hosted = Hosted(self.service)
        return hosted.submit(ANYBODY, job_text(name, **spec)).head.id

    def head(self, job: str):
        return self.service.database.get_head(job)

    def steps(self, count: int = 1) -> None:
        for _ in range(count):
            self.controller.step()

    def drive(self, job: str, **more: object) -> int:
        """What the driver that was launched last does, in this process."""
        attempt = Attempt(
            job, self.head(job).attempt, WORKPLACES["inprocess"], "inprocess", lease_s=0.1, **more
        )
        said: list[str] = []
        code = carry_out(self.service, attempt, Ending(), said.append)
        driver = driver_id(job, attempt.number)
        self.cluster.ends(driver, "SUCCEEDED" if code == 0 else "FAILED", "\n".join(said))
        return code


@pytest.fixture
def world(service: LocalService) -> World:
    return World(service)


# ---- the way of a job ---------------------------------------------------------------------------


def test_a_job_goes_from_the_queue_through_its_driver_to_its_end(world):
    job = world.submit()
    world.steps()
    head = world.head(job)
    assert (head.state, head.attempt, head.driver_id) == ("STARTING", 1, f"{job}-a1")
    assert head.slots == 2 and head.waiting is None
    (order,) = world.cluster.submitted
    assert (order.job, order.name, order.project) == (job, "digits-small", "default")
    assert world.drive(job) == 0
    world.steps()
    head = world.head(job)
    assert head.state == "SUCCEEDED" and head.driver_id is None
    state = world.service.state(job)
    assert state.drivers[0].slots == 2
    moves = [
        json.loads(e.body)["state"]
        for e in world.service.database.events(job)
        if e.kind == "job_state"
    ]
    assert moves == ["STARTING", "RUNNING", "SUCCEEDED"]
    assert world.service.replay(job) == []


def test_a_job_that_waits_says_for_what_and_since_when(world):
    jobs = [world.submit(f"j{index}") for index in range(3)]
    world.steps()
    assert [world.head(job).state for job in jobs] == ["STARTING", "STARTING", "QUEUED"]
    waiting = json.loads(world.head(jobs[2]).waiting)
    assert "slot" in waiting["for"]
    assert waiting["since"] == world.head(jobs[2]).created_at
    assert [world.head(job).slots for job in jobs] == [1, 1, None]
    assert world.drive(jobs[0]) == 0
    world.steps(2)
    assert world.head(jobs[2]).state == "STARTING" and world.head(jobs[2]).waiting is None


def test_while_ray_is_away_jobs_wait_for_it(world):
    world.cluster.is_away = True
    job = world.submit()
    world.steps()
    assert json.loads(world.head(job).waiting)["for"] == "Ray: it is being started"
    world.cluster.is_away = False
    world.steps()
    assert world.head(job).state == "STARTING"


def test_a_job_whose_driver_died_with_its_ray_says_what_it_waits_for(world):
    first = world.submit("first")
    world.steps()
    second = world.submit("second")
    world.cluster.is_away = True
    world.cluster.launcher = lambda: world.cluster  # as of a cluster: its address is always there
    world.steps()
    said = [json.loads(world.head(one).waiting)["for"] for one in (first, second)]
    assert said == [
        "Ray, for its driver: Ray cannot be reached", "Ray: Ray cannot be reached"
    ]  # fmt: skip
    assert world.head(second).state == "QUEUED"  # nothing is started on a Ray that is away
    world.cluster.is_away = False
    world.steps(2)
    assert world.head(first).waiting is world.head(second).waiting is None


def test_a_ray_that_does_not_answer_is_asked_once_in_a_pass_and_not_for_each_job(world):
    for name in ("first", "second"):
        world.submit(name)
    world.steps()
    asked: list[str] = []

    def silent(driver: str) -> Word | None:
        asked.append(driver)
        raise Unavailable("half a minute went by")

    world.cluster.look = silent
    world.steps()
    assert len(asked) == 1


def test_an_answer_of_ray_is_not_waited_for_until_another_controller_leads():
    assert launch.CONNECT_S + launch.ANSWER_S < controller.LEASE_S - controller.RENEW_S


def test_a_job_of_a_command_line_is_never_adopted(world):
    job = world.service.submit(job_text(), "job.yaml")
    world.steps(3)
    assert world.head(job).state == "QUEUED" and world.cluster.submitted == []


def test_a_job_for_which_no_machine_is_large_enough_waits_and_is_refused_at_the_door(world):
    job = world.submit(trial=trial(resources={"cpu": 3}))
    world.steps()
    assert "3 CPUs" in json.loads(world.head(job).waiting)["for"]
    said = world.controller._placement.refuses(
        type("Plan", (), {"is_external": False, "cpus": 3.0, "gpus": 0.0})()
    )
    assert said is not None and "3 CPUs" in said


# ---- drivers that end ---------------------------------------------------------------------------


def test_a_driver_that_dies_before_it_takes_the_job_is_replaced(world):
    job = world.submit()
    world.steps()
    world.cluster.ends(f"{job}-a1", message="boom\nImportError: no module named x")
    world.steps()
    head = world.head(job)
    assert head.state == "QUEUED" or head.attempt == 2
    assert "ImportError: no module named x" in json.dumps(
        [e.body for e in world.service.database.events(job)]
    )
    world.steps(2)
    assert world.head(job).attempt == 2 and world.head(job).state == "STARTING"
    assert world.drive(job) == 0
    assert world.service.replay(job) == []


def test_what_a_driver_said_before_it_could_write_is_kept(world):
    job = world.submit()
    world.steps()
    world.cluster.ends(f"{job}-a1")
    world.steps()
    (key,) = world.service.store.keys(f"logs/{job}/driver")
    assert world.service.store.get(key) == b"what it said"


def test_after_a_fault_the_next_attempt_waits_longer_each_time(service):
    world = World(service, Policy(pauses_s=(10.0, 100.0)))
    job = world.submit()
    for attempt, pause in ((1, 10.0), (2, 100.0), (3, 100.0)):
        world.steps()
        assert world.head(job).attempt == attempt
        world.cluster.ends(f"{job}-a{attempt}")
        world.steps()
        head = world.head(job)
        assert head.state == "QUEUED"
        assert head.not_before - world.clock() == pytest.approx(pause, abs=5)
        assert "its next attempt, after a pause" in json.loads(head.waiting)["for"]
        world.clock.ahead += pause + 1


def test_a_job_whose_drivers_get_no_further_fails_with_the_last_ones_words(world):
    job = world.submit()
    for attempt in range(1, 6):
        world.steps(2)
        assert world.head(job).attempt == attempt
        world.cluster.ends(f"{job}-a{attempt}", message=f"ValueError: number {attempt}")
    world.steps(2)
    head = world.head(job)
    assert head.state == "FAILED"
    assert "5 drivers in a row" in json.loads(head.summary)["reason"]
    assert "number 5" in json.loads(head.summary)["reason"]
    assert world.service.replay(job) == []


NO_PACKAGES = """runtime_env setup failed: Failed to set up runtime environment.
ray._private.runtime_env.utils.SubprocessCalledProcessError: pip returned 1
    ERROR: Could not find a version that satisfies the requirement timmm (from versions: none)
    ERROR: No matching distribution found for timmm"""


def test_a_job_whose_packages_cannot_be_installed_fails_at_once_in_pips_words(world):
    job = world.submit()
    world.steps(2)
    world.cluster.ends(f"{job}-a1", message=NO_PACKAGES)
    world.steps(2)
    head = world.head(job)
    assert (head.state, head.attempt) == ("FAILED", 1)
    assert json.loads(head.summary)["reason"] == (
        "driver 1 did not start: the job's packages cannot be installed: "
        "No matching distribution found for timmm"
    )
    assert world.service.replay(job) == []


def test_a_job_that_has_run_with_its_packages_is_given_time_to_get_them_again(world):
    job = world.submit()
    world.steps()
    assert world.drive(job, recycle_after=1) == 0
    for attempt in (2, 3):
        world.steps(3)
        assert world.head(job).attempt == attempt
        world.cluster.ends(f"{job}-a{attempt}", message=NO_PACKAGES)
    world.steps(3)
    assert (world.head(job).state, world.head(job).attempt) == ("STARTING", 4)


def test_an_attempt_that_achieves_something_starts_the_count_anew():
    said = json.dumps({"verb": "requeue", "reason": "x"})
    dies = [("driver_started", "{}"), ("segment_started", "{}"), ("command", said)]
    assert faults_in_a_row(dies * 3).number == 3
    assert faults_in_a_row([*dies * 3, ("passes", "{}")]).number == 0
    assert faults_in_a_row([*dies * 3, ("passes", "{}"), *dies]).number == 1
    resumed = ("command", json.dumps({"verb": "resume", "reason": ""}))
    assert faults_in_a_row([*dies * 3, resumed, *dies]).number == 1
    recycled = ("command", json.dumps({"verb": "recycle", "reason": ""}))
    assert faults_in_a_row([*dies, recycled, *dies]).number == 2


def test_a_job_that_cannot_be_stored_is_paused_in_the_end_and_not_failed(service):
    world = World(service, Policy(pauses_s=(0.0,), most_faults=2))
    job = world.submit()
    for attempt in (1, 2):
        world.steps(2)
        assert world.head(job).attempt == attempt
        halted = move_by_hand(world, job, "halt", "no space left")
        assert halted
        assert move(world.service.database, job, "requeue", "no space left")
        world.cluster.ends(f"{job}-a{attempt}")
        world.steps()
    head = world.head(job)
    assert head.state == "PAUSED" and "no space left" in json.loads(head.summary)["reason"]


def test_a_job_whose_drivers_cannot_reach_the_database_is_paused_in_the_end_and_not_failed(world):
    """As where its tables are of a newer version than what runs on the cluster's nodes."""
    job = world.submit()
    for attempt in range(1, 6):
        world.steps(2)
        world.cluster.ends(f"{job}-a{attempt}", message=NEWER)
    world.steps(2)
    assert world.head(job).state == "PAUSED"
    assert json.loads(world.head(job).summary)["reason"] == (
        "5 drivers in a row got no further; the last: driver 5 did not reach the database or the "
        "store: the database x on y:5432 has tables of a newer automata_svc"
    )


NEWER = """Job entrypoint command failed with exit code 5, last available logs (truncated):
Running entrypoint for job job-a1: exec python -m automata_svc.driver --job job --attempt 1
the database x on y:5432 has tables of a newer automata_svc
"""


def move_by_hand(world: World, job: str, verb: str, reason: str) -> bool:
    from automata_svc.jobs.drive import command_without_driver

    return command_without_driver(world.service, job, verb, reason)


def test_a_driver_that_made_room_is_followed_at_once_and_the_outcome_is_the_same(world, finished):
    from tests.tuning.test_crash import outcome

    job = world.submit()
    attempts = 0
    while world.head(job).state not in JOB_ENDS:
        world.steps()
        if world.head(job).state == "STARTING":
            attempts += 1
            assert world.drive(job, recycle_after=1) == 0
        assert attempts < 10
    assert attempts >= 3
    service, whole = finished
    assert outcome(world.service.state(job)) == outcome(service.state(whole))
    assert world.service.replay(job) == []
    reasons = [
        json.loads(e.body)["reason"]
        for e in world.service.database.events(job)
        if e.kind == "command" and json.loads(e.body)["verb"] == "recycle"
    ]
    assert reasons and all("trials from one driver" in reason for reason in reasons)


# ---- the controller's own end -------------------------------------------------------------------


def test_a_controller_that_died_between_naming_a_driver_and_starting_it_starts_it_later(world):
    job = world.submit()
    world.service.database.set_controller_fields(job, attempt=1, driver_id=f"{job}-a1", slots=2)
    world.steps(2)  # Ray knows no such driver: the name is taken off, then a new one is given
    assert world.head(job).attempt == 2 and world.head(job).state == "STARTING"


def test_a_controller_that_died_before_the_driver_was_there_asks_for_the_same_one_again(world):
    job = world.submit()
    world.service.database.set_controller_fields(job, attempt=1, driver_id=f"{job}-a1", slots=2)
    assert move(world.service.database, job, "start", "driver 1 starts")
    world.steps()
    assert [order.id for order in world.cluster.submitted] == [f"{job}-a1"]
    assert world.head(job).attempt == 1


def test_one_controller_works_and_the_next_takes_over_when_it_has_let_go(world):
    other = world.another(owner=NOBODY)
    job = world.submit()
    world.steps()
    other.step()
    assert world.controller.leads and not other.leads
    world.controller.release()
    other.step()
    assert other.leads
    with pytest.raises(Conflict):
        world.service.database.take_named("controller", this_process(), 5.0)
    assert len(world.cluster.submitted) == 1 and world.head(job).attempt == 1


def test_a_controller_that_is_overtaken_during_a_pass_ends_it(world, monkeypatch):
    """As where Ray takes half a minute for each answer."""
    monkeypatch.setattr("automata_svc.jobs.controller.RENEW_S", 0.0)
    first = world.submit("first")
    world.steps()
    second = world.submit("second")
    other, look = world.another("another"), world.cluster.look

    def slowly(driver: str) -> Word | None:
        world.controller.release()  # as good as over
        assert other._lead()
        return look(driver)

    monkeypatch.setattr(world.cluster, "look", slowly)
    world.cluster.ends(driver_id(first, 1))
    world.steps()
    assert not world.controller.leads
    assert world.head(second).driver_id is None and len(world.cluster.submitted) == 1


def test_a_controller_that_was_overtaken_takes_back_nothing_that_the_next_has_done(
    world, monkeypatch
):
    """As where it was frozen while it started a driver, and goes on half a minute later."""
    first, second = world.submit("first"), world.submit("second")
    other, submit = world.another("another"), world.cluster.submit

    def frozen(order: Order) -> None:
        monkeypatch.setattr(world.cluster, "submit", submit)
        submit(order)
        world.service.database.release_named("controller", 1)  # as good as over
        other.step()
        world.cluster.ends(driver_id(second, 1))
        other.step()
        other.step()

    monkeypatch.setattr(world.cluster, "submit", frozen)
    world.steps()
    assert other.leads and not world.controller.leads
    assert [world.head(one).driver_id for one in (first, second)] == [
        driver_id(first, 1), driver_id(second, 2)
    ]  # fmt: skip
    assert world.head(second).slots == 1 and world.head(second).state == "STARTING"


def test_a_driver_that_an_overtaken_controller_saw_ended_is_not_replaced_twice(world, monkeypatch):
    monkeypatch.setattr("automata_svc.jobs.controller.RENEW_S", 0.0)
    job = world.submit()
    world.steps()
    other, look = world.another("another"), world.cluster.look
    world.cluster.ends(driver_id(job, 1))

    def frozen(driver: str) -> Word | None:
        monkeypatch.setattr(world.cluster, "look", look)
        seen = look(driver)
        world.controller.release()
        other.step()
        return seen

    monkeypatch.setattr(world.cluster, "look", frozen)
    world.steps()
    head = world.head(job)
    assert (head.state, head.driver_id) == ("STARTING", driver_id(job, 2))


def test_a_new_controller_finds_everything_as_it_is(world):
    job = world.submit()
    world.steps()
    world.controller.release()
    world.controller = world.another()
    world.steps(3)
    assert len(world.cluster.submitted) == 1
    assert world.drive(job) == 0
    world.steps()
    assert world.head(job).driver_id is None


def test_drivers_that_nobody_waits_for_are_stopped(world):
    job = world.submit()
    old = driver_id(job, 7)
    gone = driver_id("job_01ARZ3NDEKTSV4RRFFQ69G5FAV", 1)
    strange = "raysubmit_abc"
    for driver in (old, gone, strange):
        world.cluster.words[driver] = Word(driver, "RUNNING", "")
    world.steps()
    assert sorted(world.cluster.stopped) == sorted([old, gone])
    assert job_of(strange) is None


# ---- commands -----------------------------------------------------------------------------------


def test_a_driver_that_does_not_go_is_asked_again_and_spoken_of_once(world, caplog):
    world.submit()
    world.steps()
    world.cluster.stop = world.cluster.stopped.append  # it hangs
    world.clock.ahead = 400.0
    with caplog.at_level("WARNING", "automata.controller"):
        world.steps(3)
    assert len(world.cluster.stopped) == 3
    assert [r.getMessage().partition(": ")[2] for r in caplog.records] == [
        "stops its driver: driver 1 did not begin within 300 s"
    ]


def test_a_paused_job_waits_in_the_queue_again_when_it_is_resumed(world):
    hosted = Hosted(world.service)
    job = world.submit()
    hosted.pause(ANYBODY, job)
    world.steps()
    assert world.head(job).state == "PAUSED" and world.cluster.submitted == []
    hosted.resume(ANYBODY, job)
    assert world.head(job).state == "QUEUED"
    world.steps()
    assert world.drive(job) == 0
    assert world.service.replay(job) == []


def test_a_job_whose_parallelism_is_changed_gets_so_many_slots(world):
    hosted = Hosted(world.service)
    job = world.submit(parallelism=1)
    world.steps()
    assert world.head(job).slots == 1
    hosted.change(ANYBODY, job, {"parallelism": None}, None)
    world.steps()
    assert world.head(job).slots == 2
    hosted.change(ANYBODY, job, {"parallelism": 1}, None)
    world.steps()
    assert world.head(job).slots == 1
    again = world.another()  # it remembers nothing of it
    world.controller.release()
    again.step()
    assert world.head(job).slots == 1


def test_a_pause_while_the_driver_is_on_its_way_keeps_it_from_driving(world):
    job = world.submit()
    world.steps()
    Hosted(world.service).pause(ANYBODY, job)
    assert world.head(job).state == "PAUSED"
    assert world.drive(job) == 0
    assert world.service.state(job).drivers == []
    world.steps()
    assert world.head(job).driver_id is None


def test_a_command_that_met_a_driver_on_its_way_out_is_carried_out(world):
    job = world.submit()
    world.steps()
    Hosted(world.service).pause(ANYBODY, job)
    world.service.database.add_command(job, "resume", "{}", world.clock())
    assert world.drive(job) == 0
    world.steps(2)
    assert world.head(job).state in ("QUEUED", "STARTING")
    assert world.service.database.waiting_commands(job) == []


def test_a_stop_that_met_a_driver_on_its_way_out_waits_for_no_other_driver(world):
    job = world.submit()
    world.steps()
    database = world.service.database
    token = database.take_lease(job, "a driver that makes room", 30.0)
    Hosted(world.service).stop(ANYBODY, job)  # the driver looks for commands no more
    database.release(job, token)
    assert move(database, job, "recycle", "made room")
    world.cluster.ends(f"{job}-a1")
    world.steps(2)
    assert world.head(job).state == "CANCELLED"
    assert [order.id for order in world.cluster.submitted] == [f"{job}-a1"]
    assert database.waiting_commands(job) == []


def test_an_old_attempt_that_comes_late_leaves_the_job_alone(world):
    job = world.submit()
    world.steps()
    late = Attempt(job, 0, WORKPLACES["inprocess"], "inprocess", lease_s=0.1)
    said: list[str] = []
    assert carry_out(world.service, late, Ending(), said.append) == 0
    assert "has passed" in said[0]
    assert world.service.state(job).drivers == []


def test_a_driver_that_is_asked_to_end_leaves_the_job_to_the_next(world):
    job = world.submit()
    world.steps()
    ending = Ending()
    ending.ask("its driver was asked to end (SIGTERM)")
    attempt = Attempt(job, 1, WORKPLACES["inprocess"], "inprocess", lease_s=0.1)
    assert carry_out(world.service, attempt, ending, lambda text: None) == 0
    head = world.head(job)
    assert head.state == "QUEUED" and "SIGTERM" in json.loads(head.summary)["reason"]
    assert not head.is_leased
    world.cluster.ends(f"{job}-a1", "SUCCEEDED")
    world.steps(2)
    assert world.head(job).attempt == 2 and world.head(job).not_before is None


def test_two_drivers_of_one_job_leave_one_log(world):
    job = world.submit()
    world.steps()
    token = world.service.database.take_lease(job, NOBODY, 30.0)
    attempt = Attempt(job, 1, WORKPLACES["inprocess"], "inprocess", lease_s=0.1)
    said: list[str] = []
    assert carry_out(world.service, attempt, Ending(), said.append) == Conflict.exit_code
    world.service.database.release(job, token)
    assert world.drive(job) == 0
    assert len(world.service.state(job).drivers) == 1


# ---- one look, one step -------------------------------------------------------------------------


def seen(**fields: object) -> Seen:
    usual = {
        "state": "RUNNING", "attempt": 3, "is_leased": True, "asked_ray": True, "idle_s": 1.0,
        "word": Word("d", "RUNNING", ""), **fields,
    }  # fmt: skip
    return Seen(**usual)  # type: ignore[arg-type]


OVER = Word("d", "FAILED", "exit code 1\nlast words")
INSTALLS = Word("d", "PENDING", "")


@pytest.mark.parametrize(
    "state, action",
    [
        (seen(), None),
        (seen(is_leased=False), None),  # for a moment: between two renewals, or on its way out
        (seen(is_leased=False, idle_s=LEASELESS_S + 1), "stop"),
        (seen(is_leased=False, word=OVER), "requeue"),
        (seen(is_leased=False, word=None), "requeue"),
        (seen(is_leased=False, word=None, asked_ray=False), None),
        (seen(is_leased=True, word=OVER), None),  # the lease runs out, or its owner is seen dead
        (seen(state="STARTING", is_leased=False), None),
        (seen(state="STARTING", is_leased=False, word=None), "launch"),
        (seen(state="STARTING", is_leased=False, word=OVER), "requeue"),
        (seen(state="STARTING", is_leased=False, idle_s=START_S + 1), "stop"),
        (seen(state="STARTING", is_leased=True, idle_s=START_S + 1), "stop"),
        (seen(state="STARTING", is_leased=False, word=INSTALLS, idle_s=START_S + 1), None),
        (seen(state="STARTING", is_leased=False, word=INSTALLS, idle_s=PENDING_S + 1), "stop"),
        (seen(state="QUEUED", is_leased=False), None),
        (seen(state="QUEUED", is_leased=False, word=OVER), "settle"),
        (seen(state="QUEUED", is_leased=False, idle_s=LEAVE_S + 1), "stop"),
        (seen(state="CANCELLED", is_leased=False, word=INSTALLS, idle_s=LEAVE_S + 1), None),
        (seen(state="PAUSED", is_leased=True, word=OVER), None),
        (seen(state="PAUSED", is_leased=False, word=None), "settle"),
        (seen(state="SUCCEEDED", is_leased=False, word=OVER), "settle"),
        (seen(state="SUCCEEDED", is_leased=False, idle_s=LEAVE_S + 1), "stop"),
    ],
)
def test_what_is_seen_of_a_job_says_what_is_to_be_done(state, action):
    step = next_step(state)
    assert (None if step is None else step.action) == action


def test_only_a_driver_that_failed_is_blamed():
    gone, failed = (
        next_step(seen(is_leased=False, word=None)),
        next_step(seen(is_leased=False, word=OVER)),
    )
    assert gone is not None and not gone.fault
    assert failed is not None and failed.fault and "last words" in failed.reason


def test_what_a_driver_said_last_but_its_code_is_why_it_failed():
    said = (
        "Job entrypoint command failed with exit code 1, last available logs:\n"
        "2026-01-31T12:00:05Z ends: the database x on y:1: Connection refused\n"
        "2026-01-31T12:00:05Z ended with code 1\n"
    )
    words = how_it_ended(Word("job-a1", "FAILED", said))
    assert words == "failed: ends: the database x on y:1: Connection refused"


def test_every_verb_leads_where_the_table_of_moves_allows():
    for verb, (came_from, to, usual) in VERBS.items():
        assert usual
        for state in came_from - {to}:
            if state in ("QUEUED", "STARTING", "RUNNING", "PAUSED"):
                assert to in JOB_MOVES[state], f"{verb} from {state}"


def test_ids_of_drivers_name_their_job():
    job = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert job_of(driver_id(job, 12)) == job
    assert job_of(job) is None and job_of("x-a1") is None
    assert os.getpid() > 0
