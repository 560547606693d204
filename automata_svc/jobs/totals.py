"""Totals over all jobs, so that a driver, a server or a job that goes resets none of them.

What a job adds is in its summary while it is not over. With its last event it is added to the table
`totals`, in the same transaction, and stays there when the job is deleted. So a look costs a row
for each set of labels and one for each job that is not over, however many there have been.
"""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automata_svc.database import Total
    from automata_svc.database.store import Database

FRESH_S = 5.0  # guess: a scraper comes every 15 s or more, several of them more often together

Labels = tuple[tuple[str, str], ...]  # sorted by name

# Upper bounds in seconds; the last bucket has none.
BUCKETS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "job_queue_seconds": (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
        "subset_select_seconds": (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0),
    }
)
INFINITE = "+Inf"


def of_job(
    project: str, queue: str, state: str, created_at: float, summary: Mapping[str, Any]
) -> list[Total]:
    """What one job adds to the totals of all.

    Args:
        created_at: unix seconds.
        summary: as it is stored; one without `jobs.summary.counts_of` it has not begun, or is of
            an older version.
    """
    from automata_svc.database import Total

    counts: Mapping[str, Any] = summary.get("counts") or {}
    found = [
        Total("jobs", {"state": state, "queue": queue}, 1.0),
        Total("jobs_submitted", {"project": project}, 1.0),
        Total("trial_reports", {}, float(counts.get("reports", 0))),
        Total("lease_lost", {}, float(counts.get("lost", 0))),
    ]
    for name, kinds in (("trials_finished", "ended"), ("driver_restarts", "restarts")):
        found += [
            Total(name, {"reason": why}, float(n)) for why, n in counts.get(kinds, {}).items()
        ]
    if counts.get("started_at") is not None:
        waited = max(0.0, counts["started_at"] - created_at)
        found += _observed("job_queue_seconds", {}, waited)
    subset = counts.get("subset")
    if subset is not None:
        strategy = {"strategy": subset["strategy"]}
        result = "hit" if subset["hit"] else "miss"
        found.append(Total("subset_cache_requests", {"result": result, **strategy}, 1.0))
        if not subset["hit"]:
            found += _observed("subset_select_seconds", strategy, subset["seconds"])
    return [one for one in found if one.value]


def _observed(name: str, labels: Mapping[str, str], value: float) -> Iterator[Total]:
    """One value in a histogram: its bucket alone, and the sum."""
    from automata_svc.database import Total

    bounds = BUCKETS[name]
    place = bisect_left(bounds, value)
    bound = f"{bounds[place]:g}" if place < len(bounds) else INFINITE
    yield Total(f"{name}_bucket", {**labels, "le": bound}, 1.0)
    yield Total(f"{name}_sum", labels, value)


@dataclass(frozen=True)
class Picture:
    """All jobs at one moment."""

    totals: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)  # state → those of live jobs
    drivers: int = 0  # live jobs that somebody is at work on


class Totals:
    """Pictures of all jobs, each good for some seconds. Safe from any thread."""

    def __init__(
        self,
        database: Database,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._fresh_s, self._clock = database, fresh_s, clock
        self._lock = threading.Lock()
        self._last: Picture | None = None
        self._until = 0.0

    def read(self) -> Picture:
        """How it stands, at most `fresh_s` ago.

        Raises:
            Unavailable: the database is away.
        """
        with self._lock:
            now = self._clock()
            if self._last is None or now >= self._until:
                self._last = self._look()
                self._until = now + self._fresh_s
            return self._last

    def _look(self) -> Picture:
        over, live = self._database.counted()
        found: dict[str, dict[Labels, float]] = {}

        def add(one: Total) -> None:
            of_name = found.setdefault(one.name, {})
            labels = tuple(sorted(one.labels.items()))
            of_name[labels] = of_name.get(labels, 0.0) + one.value

        for total in over:
            add(total)
        at_work: list[str] = []
        for job in live:
            summary = json.loads(job.summary)
            if summary.get("proposed"):
                at_work.append(job.id)
            for total in of_job(job.project, job.queue, job.state, job.created_at, summary):
                add(total)
        trials = self._database.trials_of(at_work)
        return Picture(found, trials, sum(job.is_leased for job in live))
