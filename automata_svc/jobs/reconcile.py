"""What a controller does about one job that it has given to a driver: a pure function.

The job's row says what ought to be, the lease whether a driver is at work, Ray whether its process
is there. Each step may be repeated, and a controller that dies between two leaves nothing behind
that the next one does not meet again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from automata_svc.errors import Unavailable
from automata_svc.jobs.launch import Word
from automata_svc.tuning.state import JOB_ENDS

START_S = 300.0  # guess: a driver that has not begun by then never will
# One that Ray has not even started: it installs the job's packages, for minutes. It gives up by
# itself after 900 s, and says why.
PENDING_S = 1_000.0
LEAVE_S = 45.0  # longer than a driver that ends by itself ever takes
LEASELESS_S = 15.0  # guess: a driver without its lease is gone by then, or hangs

NOT_INSTALLED = "the job's packages cannot be installed"
ENDED = "ended with code"  # a driver's last line
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")  # before each of its lines
UNREACHED = "did not reach the database or the store"  # no fault of the job's
_NO_ENVIRONMENT = "runtime_env setup failed"  # how Ray begins to say so; pip's own words follow

Action = Literal["launch", "requeue", "settle", "stop"]


@dataclass(frozen=True)
class Seen:
    """One job that has a driver, or had one until now."""

    state: str
    attempt: int
    is_leased: bool  # and whoever holds the lease is not known to be dead
    word: Word | None  # Ray's about its driver; None: it knows none
    asked_ray: bool  # False: Ray was not asked, or does not answer
    idle_s: float  # since the last event on its log


@dataclass(frozen=True)
class Step:
    """What is to be done.

    launch: start the driver of this attempt (once more, if it was started).
    requeue: put the job back into its queue; `fault`: its driver is to blame.
    settle: its driver is gone, and the job is where it should be: tidy up.
    stop: end a driver that should have gone.
    """

    action: Action
    reason: str = ""
    fault: bool = False


def next_step(seen: Seen) -> Step | None:
    """None: nothing is to be done now."""
    if seen.state in ("STARTING", "RUNNING"):
        return _driven(seen)
    return _left(seen)


def _driven(seen: Seen) -> Step | None:
    word = seen.word
    if seen.is_leased:
        if seen.state == "STARTING" and seen.idle_s > START_S and seen.asked_ray:
            return Step("stop", f"driver {seen.attempt} did not begin within {START_S:g} s")
        return None
    if not seen.asked_ray:
        return None
    if word is None:
        if seen.state == "STARTING" and seen.idle_s < START_S:
            return Step("launch")
        return Step("requeue", f"driver {seen.attempt} is gone: Ray knows nothing of it")
    if word.is_over:
        return Step("requeue", f"driver {seen.attempt} {how_it_ended(word)}", fault=True)
    if seen.state == "RUNNING" and seen.idle_s > LEASELESS_S:
        return Step("stop", f"driver {seen.attempt} has lost its lease")
    most_s = _patience_s(word, START_S)
    if seen.idle_s > most_s:
        return Step("stop", f"driver {seen.attempt} did not begin within {most_s:g} s")
    return None


def _left(seen: Seen) -> Step | None:
    """A job that is queued, paused or over, and has a driver's name on it still."""
    if not seen.asked_ray:
        return None
    if seen.word is None or seen.word.is_over:
        return None if seen.is_leased and seen.state not in JOB_ENDS else Step("settle")
    if seen.idle_s > _patience_s(seen.word, LEAVE_S):
        return Step("stop", f"the job is {seen.state}")
    return None


def _patience_s(word: Word, usual_s: float) -> float:
    """How long a driver is waited for. Ray cannot stop one before it has started it."""
    return PENDING_S if word.status == "PENDING" else usual_s


def how_it_ended(word: Word) -> str:
    """In a line, from what Ray says of it."""
    lines = [line.strip() for line in word.message.splitlines() if line.strip()]
    text = word.message
    if "exit code -9" in text:
        return "was killed"
    if text.startswith(_NO_ENVIRONMENT):
        said = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
        return f"did not start: {NOT_INSTALLED}: {(said or lines)[-1][:500]}"
    if word.status == "SUCCEEDED":
        return "ended and left the job as it was"
    if word.status == "STOPPED":
        return "was stopped"
    said = [_STAMP.sub("", line) for line in lines]
    words = [line for line in said if not line.startswith(ENDED)]  # what came before it is why
    if f"exit code {Unavailable.exit_code}," in text and words:
        return f"{UNREACHED}: {words[-1][:500]}"
    return f"failed: {words[-1][:500]}" if words else "failed without a word"
