"""What is counted of a job from its log: numbers that only grow, however often drivers change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

# What a trial first ended in → why, in the words of a report's `stopped`.
ENDED: Mapping[str, str] = MappingProxyType(
    {
        "PRUNED": "rung",
        "STOPPED": "guard",
        "FAILED": "failed",
        "COMPLETED": "completed",
        "CANCELLED": "cancelled",
    }
)
# The verb that came before a driver → why it was started. Without one it took over what the log
# says that another is at work on.
AGAIN: Mapping[str, str] = MappingProxyType(
    {"requeue": "fault", "recycle": "recycled", "resume": "resumed"}
)
TAKEN_OVER = "taken over"


@dataclass
class Tally:
    """Changed by `tuning.evolve` alone."""

    reports: int = 0  # of progress, those of a retry again
    ended: dict[str, int] = field(default_factory=dict)  # why → trials, each at its first end
    restarts: dict[str, int] = field(default_factory=dict)  # why → drivers after the first
    lost: int = 0  # drivers that were at work when the job was taken from them
    started_at: float | None = None  # of the first driver, unix seconds
    _seen: set[int] = field(default_factory=set)  # trials that have ended
    _verb: str = ""  # that came since the last driver began

    def trial_ended(self, trial: int, state: str) -> None:
        if trial not in self._seen:
            self._seen.add(trial)
            why = ENDED[state]
            self.ended[why] = self.ended.get(why, 0) + 1

    def commanded(self, verb: str) -> None:
        if verb in AGAIN:
            self._verb = verb
            self.lost += verb == "requeue"

    def driver_started(self, job_state: str, at: float) -> None:
        if self.started_at is None:
            self.started_at = at
        else:
            why = AGAIN.get(self._verb)
            if why is None:  # `automata resume` here, or one that found nobody at work
                why = "resumed" if job_state in ("PAUSED", "QUEUED") else TAKEN_OVER
                self.lost += why == TAKEN_OVER
            self.restarts[why] = self.restarts.get(why, 0) + 1
        self._verb = ""

    def to_json(self) -> dict[str, Any]:
        """What a job's summary keeps of it."""
        return {
            "reports": self.reports,
            "ended": dict(self.ended),
            "restarts": dict(self.restarts),
            "lost": self.lost,
            "started_at": self.started_at,
        }
