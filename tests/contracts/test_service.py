"""One set of verbs: every Service does the same, on this machine and against a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from automata_svc.cli.commands import cli
from automata_svc.cli.world import World
from automata_svc.client.http import Http
from automata_svc.errors import Conflict, NotFound, SpecError
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.protocol import Service
from automata_svc.jobs.remote import RemoteService
from automata_svc.results.result import result
from automata_svc.settings import Settings
from automata_svc.tuning import events as ev
from automata_svc.tuning.state import JobState
from tests.api.served import serving
from tests.jobs.build import RUNNER, job_text, trial


@dataclass
class Place:
    """A service, and what drives its jobs where it does not do so itself."""

    service: Service
    behind: LocalService

    def run(self, job: str, watch: Any = None) -> JobState:
        """To its end: here by the service itself, at a server by its driver."""
        if self.service.runs_here:
            return self.service.drive(job, watch, RUNNER)
        driver = threading.Thread(target=self._drive_once_queued, args=(job,))
        driver.start()
        try:
            return self.service.drive(job, watch)
        finally:
            driver.join(30)

    def _drive_once_queued(self, job: str) -> None:
        while self.behind.find(job).state == "PAUSED":  # until it is resumed
            time.sleep(0.02)
        self.behind.drive(job, None, RUNNER)


@pytest.fixture(scope="module", params=["local", "remote"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "local":
        with closing(LocalService(Settings.from_env({"AUTOMATA_HOME": str(folder)}))) as here:
            yield Place(here, here)
        return
    with serving(folder) as served, Http(served.url, served.token("admin")) as http:
        yield Place(RemoteService(http), served.world.service)


@pytest.fixture(scope="module")
def done(place: Place) -> str:
    """A job that succeeded; look, don't touch."""
    job = place.service.submit(job_text("looked-at"), "job.yaml")
    assert place.run(job).state == "SUCCEEDED"
    return job


Submit = Callable[..., str]


def test_a_plan_says_the_same_price_and_rungs_as_the_job_then_has(place: Place) -> None:
    view = place.service.plan(job_text(), "job.yaml", ("budget.trials=7",))
    assert [line.trials for line in view.rungs] == [7, 3, 2]
    assert view.chosen["spec.subset.strategy"].value == "adaptive_random"
    assert view.job["spec"]["budget"]["trials"] == 7
    assert isinstance(view.rungs[0].steps, tuple) and isinstance(view.warnings, tuple)


def test_every_mistake_comes_back_at_once_with_its_place(place: Place) -> None:
    text = job_text(budget={"trials": 0}, trial=trial(template="tabular_mlq"))
    with pytest.raises(SpecError) as caught:
        place.service.submit(text, "job.yaml")
    assert "job.yaml" in str(caught.value)
    assert any("budget.trials" in problem.pointer for problem in caught.value.problems)
    text = job_text(trial=trial(template="tabular_mlq", settings={"epocs": 4}))
    with pytest.raises(SpecError, match="tabular_mlp"):
        place.service.submit(text, "job.yaml")
    assert place.service.jobs() == []


def test_a_job_is_watched_event_by_event_and_ends_with_its_report(place: Place) -> None:
    seen: list[ev.Event] = []

    def watch(state: JobState, events: Sequence[ev.Event]) -> None:
        seen.extend(events)

    job = place.service.submit(job_text("watched"), "job.yaml")
    assert place.service.find(job).state == "QUEUED"
    state = place.run(job, watch)
    assert state.state == "SUCCEEDED" and state.result is not None
    log = [(seq, kind) for seq, _, kind, _ in place.service.events(job)]
    assert [seq for seq, _ in log] == list(range(1, state.seq + 1))
    assert len(seen) == len(log)
    again = result(place.service.state(job), place.service.spec(job))
    assert again == place.service.result(job) == result(state, place.service.spec(job))


def test_who_begins_to_look_is_shown_at_once_where_the_job_is(place: Place) -> None:
    seen: list[tuple[str, int]] = []
    shown = threading.Event()

    def watch(state: JobState, events: Sequence[ev.Event]) -> None:
        seen.append((state.state, len(events)))
        shown.set()

    job = place.service.submit(job_text("waits"), "job.yaml")
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(place.service.follow, job, watch)
        assert shown.wait(10) and seen == [("QUEUED", 0)]
        place.service.stop(job)
        assert looking.result(10).state == "CANCELLED"
    assert seen[-1][0] == "CANCELLED" and all(count for _, count in seen[1:])


def test_the_newest_jobs_come_first_and_no_more_than_asked_for(place: Place) -> None:
    made = [place.service.submit(job_text("newest"), "job.yaml") for _ in range(3)][::-1]
    for limit, found in ((1, made[:1]), (2, made[:2]), (3, made), (4, made), (None, made)):
        rows = place.service.jobs(name="newest", limit=limit)
        assert [row.id for row in rows] == found
    for job in made:
        place.service.stop(job)


def test_rows_of_jobs_and_trials_agree_with_the_report(place: Place, done: str) -> None:
    row = place.service.find(done)
    assert (row.name, row.state, row.trials) == ("looked-at", "SUCCEEDED", 6)
    assert place.service.find("looked-at") == row == place.service.find(done[:-2])
    assert row in place.service.jobs() and row in place.service.jobs(state="SUCCEEDED")
    assert place.service.jobs(state="PAUSED") == []
    assert place.service.jobs(name="looked-at") == [row] and place.service.jobs(name="none") == []
    whole = place.service.result(done)
    assert row.summary["best"]["trial"] == whole["best"]["trial"]
    assert row.summary["price"] == pytest.approx(whole["cost"]["price"])
    rows = place.service.trials(done)
    assert sorted(one["number"] for one in rows) == list(range(6))
    assert {one["number"]: one for one in rows} == {o["number"]: o for o in whole["trials"]}
    assert rows == sorted(rows, key=lambda r: (-r["rung"], -r["metric"], r["number"]))
    assert place.service.trials(done, top=2) == rows[:2]


def test_why_names_the_rung_and_its_whole_table(place: Place, done: str) -> None:
    pruned = next(t for t in place.service.trials(done) if t["state"] == "PRUNED")
    answer = place.service.why(done, pruned["number"])
    assert answer.rank is not None and answer.agrees
    assert [one.rank for one in answer.table] == list(range(1, answer.size + 1))
    assert answer.path[-1].verdict == "prune"
    with pytest.raises(NotFound, match="trials are 0 to 5"):
        place.service.why(done, 99)


def test_a_log_replays_to_its_decisions(place: Place, done: str) -> None:
    assert place.service.replay(done) == []


def test_a_service_and_a_job_are_shown_in_a_line(place: Place, done: str) -> None:
    assert place.service.place in repr(place.service) and len(repr(place.service)) < 200
    shown = repr(place.service.state(done))
    assert done in shown and "SUCCEEDED" in shown and "price" in shown and len(shown) < 200


def test_the_winner_is_saved_whole(place: Place, done: str, tmp_path: Path) -> None:
    files = place.service.save_best(done, tmp_path / "best")
    names = {path.name for path in files}
    assert {"model.pt", "params.json", "tabular_mlp.py", "example.py"} <= names
    assert all(path.stat().st_size > 0 for path in files)
    with pytest.raises(SpecError, match="empty"):
        place.service.save_best(done, tmp_path / "best")


def test_a_job_that_is_over_is_not_driven_again(place: Place, done: str) -> None:
    with pytest.raises(Conflict, match="finished"):
        place.service.drive(done, None, RUNNER)
    assert place.service.follow(done).state == "SUCCEEDED"  # looking is always possible


def test_a_waiting_job_is_paused_resumed_and_stopped_for_good(place: Place) -> None:
    job = place.service.submit(job_text("stopped"), "job.yaml")
    place.service.pause(job, "not now")
    assert place.service.find(job).state == "PAUSED"
    assert place.service.follow(job).state == "PAUSED"
    assert place.run(job).state == "SUCCEEDED"
    job = place.service.submit(job_text("stopped"), "job.yaml")
    place.service.stop(job, "changed my mind")
    assert place.service.find(job).state == "CANCELLED"
    assert "changed my mind" in place.service.find(job).reason


def test_a_clone_has_the_changes_and_nothing_of_the_run(place: Place, done: str) -> None:
    made = place.service.clone(done, ("search.seed=5",), "looked-again")
    row = place.service.find(made)
    assert (row.name, row.state, row.summary["price"] if "price" in row.summary else 0.0) == (
        "looked-again", "QUEUED", 0.0,
    )  # fmt: skip
    assert place.service.spec(made)["spec"]["search"]["seed"] == 5
    assert place.service.spec(made)["spec"]["space"] == place.service.spec(done)["spec"]["space"]
    place.service.stop(made)


def test_a_submitted_job_is_changed_all_of_it_or_nothing(place: Place) -> None:
    job = place.service.submit(job_text("changed"), "job.yaml")
    place.service.change(job, {"labels": {"old": "1", "team": "a"}})
    place.service.change(
        job,
        {"priority": 80, "labels": {"old": None, "team": "b"}, "retention": {"checkpoints": "2d"}},
    )
    head = place.behind.database.get_head(job)
    assert head.priority == 80 and json.loads(head.labels) == {"team": "b"}
    assert place.service.spec(job)["spec"]["retention"]["checkpoints"] == 2 * 86_400.0
    with pytest.raises(SpecError) as caught:
        place.service.change(job, {"priority": 101, "prioritty": 3, "labels": {"team": "c"}})
    assert {one.pointer for one in caught.value.problems} == {"priority", "prioritty"}
    assert json.loads(place.behind.database.get_head(job).labels) == {"team": "b"}
    place.service.stop(job)
    with pytest.raises(Conflict, match="labels and its retention can still be changed"):
        place.service.change(job, {"priority": 3})


def test_slots_are_changed_where_a_service_gives_them(place: Place) -> None:
    job = place.service.submit(job_text("widened", parallelism=1), "job.yaml")
    if place.service.runs_here:
        with pytest.raises(Conflict, match="a command line drives it"):
            place.service.change(job, {"parallelism": 2})
    else:
        place.service.change(job, {"parallelism": 2})
        assert place.service.spec(job)["spec"]["parallelism"] == 2
    place.service.stop(job)


def test_a_template_of_ones_own_comes_along_with_what_it_prints(
    place: Place, tmp_path: Path
) -> None:
    from automata_svc.trials.templates import find_template

    text = find_template("tabular_mlp", Settings.from_env()).text
    mine = tmp_path / "mine.py"
    mine.write_text(
        text.replace(
            "    for _ in trial.passes", "    print('hello', flush=True)\n    for _ in trial.passes"
        )
    )
    job = place.service.submit(job_text("mine", trial=trial(template=str(mine))), "job.yaml")
    mine.unlink()  # what runs is what was submitted
    assert place.run(job).state == "SUCCEEDED"
    lines = place.service.logs(job, trial=0)
    assert [text for _, text in lines][:1] == ["hello"] and lines[0][0] == 1
    assert list(place.service.logs(job, trial=0, after=lines[-1][0])) == []


def test_what_is_not_there_is_said_with_the_nearest(place: Place, done: str) -> None:
    with pytest.raises(NotFound, match="looked-at"):
        place.service.find("looked-att")
    with pytest.raises(NotFound, match="has no trial 99; its trials are 0 to 5"):
        place.service.logs(done, trial=99)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a?b#c", "é", "%2e", "x" * 101])
def test_a_name_that_no_job_has_is_not_found_here_and_there(place: Place, name: str) -> None:
    for verb in (place.service.find, place.service.stop, place.service.result):
        with pytest.raises(NotFound, match="no job"):
            verb(name)


# ---- the same verb, the same outcome ------------------------------------------------------------

# How a job comes into a state, one move after the other.
WAYS = {
    "QUEUED": (),
    "STARTING": ("STARTING",),
    "RUNNING": ("RUNNING",),
    "PAUSED": ("PAUSED",),
    "STOPPING": ("RUNNING", "STOPPING"),
    "SUCCEEDED": ("RUNNING", "SUCCEEDED"),
    "FAILED": ("FAILED",),
    "CANCELLED": ("CANCELLED",),
}
PAUSED = (0, "{job} is paused; go on with: automata resume {job}", "PAUSED")
STOPPED = (0, "{job} is stopped; what it found: automata show {job}", "CANCELLED")

# (verb, state) → exit code, what is said, the state afterwards; with nobody at work on the job.
OUTCOMES = {
    **{("pause", state): PAUSED for state in ("QUEUED", "STARTING", "RUNNING", "PAUSED")},
    **{
        ("stop", state): STOPPED
        for state in ("QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING", "CANCELLED")
    },
    **{
        (verb, "STOPPING"): (
            4,
            f"error: {{job}} is STOPPING: it is about to end and cannot be asked to {verb}",
            "STOPPING",
        )
        for verb in ("pause", "resume")
    },
    **{
        (verb, state): (4, f"error: {{job}} is already finished: {state}", state)
        for verb in ("pause", "resume", "stop")
        for state in ("SUCCEEDED", "FAILED", "CANCELLED")
        if (verb, state) != ("stop", "CANCELLED")
    },
    ("retry", "QUEUED"): (0, "{job}", "QUEUED"),
    ("retry", "FAILED"): (0, "{new}", "FAILED"),
    ("retry", "CANCELLED"): (0, "{new}", "CANCELLED"),
    **{
        ("retry", state): (
            4,
            f"error: {{job}} is {state}; only what failed or was cancelled is retried",
            state,
        )
        for state in ("STARTING", "RUNNING", "PAUSED", "STOPPING", "SUCCEEDED")
    },
}


def in_state(place: Place, state: str) -> str:
    """A job that has come into a state, and that nobody is at work on."""
    database = place.behind.database
    job = place.service.submit(job_text("verbs"), "job.yaml")
    token = database.take_lease(job, "a test", 30.0)
    for to in WAYS[state]:
        summary = database.get_head(job).summary
        event = ev.encode(ev.JobState(to, "for the test", time.time()))
        database.append(job, token, [event], time.time(), state=to, summary=summary)
    database.release(job, token)
    return job


def said_to(place: Place, verb: str, job: str) -> Result:
    """What `automata VERB JOB` ends with."""
    return CliRunner().invoke(cli, [verb, job], obj=World(connect=lambda: place.service))


@pytest.mark.parametrize(("verb", "state"), sorted(OUTCOMES))
def test_a_verb_ends_the_same_here_and_there(place: Place, verb: str, state: str) -> None:
    code, text, afterwards = OUTCOMES[verb, state]
    job = in_state(place, state)
    found = said_to(place, verb, job)
    said = (found.stdout or found.stderr).strip()
    new = said if "{new}" in text else ""
    assert (found.exit_code, said) == (code, text.format(job=job, new=new)), found.output
    assert place.service.find(job).state == afterwards
    if new:
        assert new != job and place.service.find(new).state == "QUEUED"
        assert said_to(place, verb, job).stdout.strip() == new  # however often it is said


@pytest.mark.parametrize("verb", ["pause", "stop"])
@pytest.mark.parametrize("state", ["STARTING", "RUNNING"])
def test_a_verb_is_handed_to_the_one_at_work(place: Place, verb: str, state: str) -> None:
    job = in_state(place, state)
    token = place.behind.database.take_lease(job, "a driver", 30.0)
    found = said_to(place, verb, job)
    assert found.exit_code == 0 and f"{job} is asked to {verb}" in found.stdout
    assert place.service.find(job).state == state
    waiting = place.behind.database.waiting_commands(job)
    assert [command.verb for command in waiting] == [verb]
    place.behind.database.release(job, token)


def test_every_verb_has_an_outcome_in_every_state() -> None:
    """But for a resume of what can go on: it runs the job here, and looks on at a server."""
    goes_on = {("resume", state) for state in ("QUEUED", "STARTING", "RUNNING", "PAUSED")}
    every = {(verb, state) for verb in ("pause", "resume", "stop", "retry") for state in WAYS}
    assert set(OUTCOMES) == every - goes_on
