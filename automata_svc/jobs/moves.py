"""A controller's steps on a job's log, and what its log says about the drivers it has had."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from automata_svc.jobs.lease import LEASE_S
from automata_svc.tuning import events as ev
from automata_svc.tuning.inputs import VERBS
from automata_svc.tuning.state import JOB_MOVES

if TYPE_CHECKING:
    from automata_svc.database.store import Database

# Kinds of events that come with every attempt, however little it achieves.
BOOKKEEPING = frozenset(
    {"driver_started", "job_state", "command", "slots_changed", "segment_started", "tick"}
)


def move(database: Database, job: str, verb: str, reason: str) -> bool:
    """Puts a job that nobody drives into the state that a verb leads to, and says why on its log.

    The log is not read for it: what these verbs lead to follows from the job's state alone. (One
    that ends trials is carried out by `jobs.drive.command_without_driver`.)

    Returns:
        False: its state is not one that the verb applies to; nothing was written.

    Raises:
        Conflict: somebody drives it.
        Unavailable: the database is away; nothing was written.
    """
    from automata_svc.database import this_process

    came_from, to, usual = VERBS[verb]
    token = database.take_lease(job, this_process(), LEASE_S)
    try:
        head = database.get_head(job)
        if head.state not in came_from or to not in JOB_MOVES[head.state]:
            return False
        now = time.time()
        said = reason or usual
        events = [ev.encode(ev.Command(verb, reason, now)), ev.encode(ev.JobState(to, said, now))]
        summary = {**json.loads(head.summary), "reason": said, "since": now, "running": 0}
        database.append(
            job, token, events, now, state=to, summary=json.dumps(summary), first_seq=head.seq + 1
        )
    finally:
        database.release(job, token)
    return True


class Faults(NamedTuple):
    """How a job's last drivers ended."""

    number: int  # attempts in a row that ended by a fault and had achieved nothing
    reason: str  # of the last one
    halted: bool  # it could not store something: no fault of the job's


def faults_in_a_row(events: Iterable[tuple[str, str]]) -> Faults:
    """Reads (kind, body) of a job's whole log; a user's resume begins the count anew."""
    count, reason, halted = 0, "", False
    for kind, body in events:
        if kind not in BOOKKEEPING:
            count, halted = 0, False
        elif kind == "command":
            said = json.loads(body)
            verb = said["verb"]
            if verb == "requeue":
                count, reason = count + 1, said["reason"]
            elif verb == "halt":
                halted = True
            elif verb == "resume":
                count, halted = 0, False
    return Faults(count, reason, halted)
