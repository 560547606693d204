"""What is counted of a job from its log, whoever drives it and however often it changes hands."""

from __future__ import annotations

import pytest

from automata_svc.tuning import events as ev
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.state import JobState
from automata_svc.tuning.tally import Tally
from tests.tuning.build import VERSIONS, make_plan

STARTED = ev.DriverStarted(VERSIONS, "sha", 2, "ray")


def tally_of(*events: ev.Event) -> Tally:
    state = JobState(make_plan())
    for seq, event in enumerate(events, start=1):
        evolve(state, seq, 100.0 + seq, event)
    return state.tally


def moves(verb: str, *states: str) -> list[ev.Event]:
    return [ev.Command(verb), *(ev.JobState(state, "") for state in states)]


@pytest.mark.parametrize(
    ("between", "why", "lost"),
    [
        (moves("requeue", "QUEUED", "STARTING"), "fault", 1),
        (moves("recycle", "QUEUED", "STARTING"), "recycled", 0),
        ([*moves("pause", "PAUSED"), *moves("resume", "QUEUED", "STARTING")], "resumed", 0),
        (moves("pause", "PAUSED"), "resumed", 0),  # `automata resume` on this machine
        ([], "taken over", 1),  # its driver was killed, and another found nobody at work
    ],
)
def test_a_second_driver_says_why_there_is_one(
    between: list[ev.Event], why: str, lost: int
) -> None:
    running = ev.JobState("RUNNING", "")
    found = tally_of(STARTED, running, *between, STARTED, running)
    assert (found.restarts, found.lost, found.started_at) == ({why: 1}, lost, 101.0)


def test_the_first_driver_is_no_restart() -> None:
    found = tally_of(ev.Command("start"), ev.JobState("STARTING", ""), STARTED)
    assert (found.restarts, found.lost, found.started_at) == ({}, 0, 103.0)


def test_a_trial_that_is_trained_on_after_its_end_has_ended_once() -> None:
    """A finalist of the search, which its confirmation may take further, and end again."""
    tally = Tally()
    for state in ("COMPLETED", "COMPLETED", "FAILED"):
        tally.trial_ended(3, state)
    tally.trial_ended(4, "PRUNED")
    assert tally.ended == {"completed": 1, "rung": 1}
