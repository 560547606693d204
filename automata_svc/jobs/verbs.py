"""What a user's verb means to a job in each state: one rule, here and at a server.

state       pause      resume     stop       retry
QUEUED      acts       done       acts       acts: it starts now, if it waited
STARTING    acts       done       acts       refused
RUNNING     acts       done       acts       refused
PAUSED      done       acts       acts       refused
STOPPING    refused    refused    acts       refused
SUCCEEDED   refused    refused    refused    refused
FAILED      refused    refused    refused    acts: a new job, the same however often
CANCELLED   refused    refused    done       acts: a new job, the same however often
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from automata_svc.errors import Conflict
from automata_svc.tuning.state import JOB_ENDS

Verb = Literal["pause", "resume", "stop", "retry"]

_NOT_OVER = frozenset({"QUEUED", "STARTING", "RUNNING", "PAUSED"})

# verb → states in which there is something to do, and those in which it is done already.
_MEANS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "pause": (_NOT_OVER - {"PAUSED"}, frozenset({"PAUSED"})),
        "resume": (frozenset({"PAUSED"}), _NOT_OVER - {"PAUSED"}),
        "stop": (_NOT_OVER | {"STOPPING"}, frozenset({"CANCELLED"})),
        "retry": (frozenset({"QUEUED", "FAILED", "CANCELLED"}), frozenset()),
    }
)


def is_done(verb: Verb, job: str, state: str) -> bool:
    """Whether a job in this state already is what the verb asks for; False: it is to be done.

    Raises:
        Conflict: the verb means nothing to a job in this state.
    """
    acts, done = _MEANS[verb]
    if state not in acts | done:
        raise Conflict(_refused(verb, job, state))
    return state in done


def _refused(verb: Verb, job: str, state: str) -> str:
    if verb == "retry":
        return f"{job} is {state}; only what failed or was cancelled is retried"
    if state in JOB_ENDS:
        return f"{job} is already finished: {state}"
    return f"{job} is {state}: it is about to end and cannot be asked to {verb}"
