"""Who may run, on how many slots, and why the others wait: a pure function of what stands there.

Three questions, in this order. *Whose turn is it?* Projects share the cluster by weight; within a
project a job's share goes by its priority. What counts is slot-seconds: each step goes to whoever
has had the least of them for its weight (stride scheduling: Waldspurger and Weihl 1995), so that
over time equal weights get equal slot-seconds whatever the number of slots, and nobody starves.
*Does it fit?* A slot takes its CPUs and GPUs on one machine, and a project, or a queue, no more
than its quota.
*Is there a driver for it?* Each job that runs holds a driver process, and those are counted too.

The unit of a slot is its largest part of the cluster's resources (dominant resource: Ghodsi et al.
2011) times the slots of one CPU that the cluster has; where all jobs ask for the same, a slot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

NEUTRAL_PRIORITY = 50
DOUBLES_EVERY = 10.0  # points of priority: 60 gets twice the slots of 50
AGES_EVERY_S = 60.0  # a job that waits gains a point of priority in this time, so that it comes up
QUANTUM_S = 60.0  # guess: a slot that changes hands costs its new owner a worker's start (5 s)


ANY = ""  # in the place of a project's name


class Machine(NamedTuple):
    """What one node has in all."""

    cpus: float
    gpus: float


class Size(NamedTuple):
    """What one slot of a job takes, on one machine."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Quota:
    """A project's share and its limits; a queue has limits only."""

    weight: float = 1.0
    slots: int | None = None  # at most; None: no limit
    jobs: int | None = None  # that run at a time


@dataclass(frozen=True)
class Job:
    """A job that runs or wants to."""

    id: str
    project: str
    priority: int  # 0 to 100
    size: Size
    most: int | None  # slots it can use; None: any number
    since: float  # when it began to wait, or was submitted; unix seconds
    runs: bool  # it has a driver, or one is on its way
    returns: bool = False  # it ran before and waits for its next driver: it keeps its place
    slots: int = 0  # granted now
    uses: int | None = None  # slots that it holds in fact; None: those it is granted
    queue: str = "default"


@dataclass(frozen=True)
class Ledger:
    """Slot-seconds for their weight, by project and by job; kept by the controller, in memory.

    A newcomer begins level with the least served of those that are there: nobody saves up.
    """

    projects: Mapping[str, float] = field(default_factory=dict)
    jobs: Mapping[str, float] = field(default_factory=dict)
    changed_at: float = -math.inf  # when slots changed hands last


@dataclass(frozen=True)
class Allotment:
    """What follows."""

    admit: tuple[str, ...]  # in the order in which they are to be started
    slots: Mapping[str, int]  # of every job that runs or is admitted
    waiting: Mapping[str, str]  # job → for what
    ledger: Ledger


@dataclass(frozen=True)
class Cluster:
    """The machines, and how many drivers there may be."""

    machines: tuple[Machine, ...]
    drivers: int

    def slots(self, size: Size) -> int:
        """How many slots of a size an empty cluster has."""
        return sum(_fits(machine, size) for machine in self.machines)

    def unit(self, size: Size) -> float:
        """What one slot counts for; see the module's text."""
        cpus = sum(machine.cpus for machine in self.machines)
        gpus = sum(machine.gpus for machine in self.machines)
        parts = [size.cpus / cpus if cpus else 0.0, size.gpus / gpus if gpus else 0.0]
        return max(parts) * max(cpus, 1.0) or 1.0


def allot(
    jobs: Sequence[Job],
    cluster: Cluster,
    quotas: Mapping[str, Quota],
    ledger: Ledger,
    now: float,
    elapsed_s: float,
) -> Allotment:
    """Charges for the time that has passed, then says who runs on what.

    Args:
        jobs: all that run or want to; the order does not matter.
        quotas: by project, ANY for those without one of their own; and by `queue_key`.
        ledger: of the last call.
        now: unix seconds.
        elapsed_s: since the last call, in which each job had its `slots`.
    """
    jobs = sorted(jobs, key=lambda job: job.id)
    charged = _charge(ledger, jobs, cluster, quotas, elapsed_s)
    admit, waiting = _admit(jobs, cluster, quotas, charged, now)
    ids = set(admit)
    active = [job for job in jobs if job.runs or job.id in ids]
    held = {job.id: job.slots for job in active}
    is_stale = now - charged.changed_at >= QUANTUM_S
    if not is_stale and not ids and _still_good(active, held, cluster, quotas):
        slots = held
    else:
        slots = _share(active, cluster, quotas, charged)
        if slots != held:
            charged = replace(charged, changed_at=now)
    return Allotment(tuple(admit), slots, waiting, charged)


def fits_nowhere(size: Size, cluster: Cluster) -> str | None:
    """Why a slot can never be placed, as the machines are; None: it can."""
    if cluster.slots(size) > 0 or not cluster.machines:
        return None
    largest = max(cluster.machines, key=lambda m: (m.gpus >= size.gpus, m.cpus, m.gpus))
    asked = f"{size.cpus:g} CPUs" + (f" and {size.gpus:g} GPUs" if size.gpus else "")
    has = f"{largest.cpus:g} CPUs and {largest.gpus:g} GPUs"
    return (
        f"a trial asks for {asked} on one machine; the largest of {len(cluster.machines)} has {has}"
    )


# ---- whose turn ---------------------------------------------------------------------------------


def _weight(job: Job) -> float:
    return float(2.0 ** ((job.priority - NEUTRAL_PRIORITY) / DOUBLES_EVERY))


def _rank(job: Job, now: float) -> tuple[bool, float, float, str]:
    """The order in which a project's jobs are admitted: what returns, then priority and age."""
    aged = job.priority + max(0.0, now - job.since) / AGES_EVERY_S
    return (not job.returns, -aged, job.since, job.id)


def _charge(
    ledger: Ledger,
    jobs: Sequence[Job],
    cluster: Cluster,
    quotas: Mapping[str, Quota],
    elapsed_s: float,
) -> Ledger:
    projects = _level(ledger.projects, {job.project for job in jobs})
    by_job: dict[str, float] = {}
    for project in projects:
        own = {job.id for job in jobs if job.project == project}
        by_job.update(_level(ledger.jobs, own))
    for job in jobs:
        held = job.slots if job.uses is None else job.uses
        if job.runs and held:
            had = held * cluster.unit(job.size) * elapsed_s
            by_job[job.id] += had / _weight(job)
            projects[job.project] += had / _quota(quotas, job.project).weight
    return replace(ledger, projects=projects, jobs=by_job)


def _level(had: Mapping[str, float], present: Iterable[str]) -> dict[str, float]:
    """What those that are there have had, newcomers as much as the least served; less what all
    have had, since only differences matter."""
    kept = {name: had[name] for name in present if name in had}
    least = min(kept.values(), default=0.0)
    return {name: kept.get(name, least) - least for name in present}


# ---- who is let in ------------------------------------------------------------------------------


def _admit(
    jobs: Sequence[Job],
    cluster: Cluster,
    quotas: Mapping[str, Quota],
    ledger: Ledger,
    now: float,
) -> tuple[list[str], dict[str, str]]:
    active = [job for job in jobs if job.runs]
    admitted: list[str] = []
    waiting: dict[str, str] = {}
    left: dict[str, list[Job]] = {}
    for job in sorted((j for j in jobs if not j.runs), key=lambda j: _rank(j, now)):
        left.setdefault(job.project, []).append(job)
    while left:
        # Whose project has had the least, counting a slot for each of its jobs that run.
        project = min(left, key=lambda p: (_had(p, active, cluster, quotas, ledger), p))
        job = left[project].pop(0)
        if not left[project]:
            del left[project]
        reason = _held_back(job, active, cluster, quotas, ledger)
        if reason is None:
            admitted.append(job.id)
            active.append(job)
        else:
            waiting[job.id] = reason
    return admitted, waiting


def _had(
    project: str,
    active: Iterable[Job],
    cluster: Cluster,
    quotas: Mapping[str, Quota],
    ledger: Ledger,
) -> float:
    soon = sum(cluster.unit(j.size) * QUANTUM_S for j in active if j.project == project)
    return ledger.projects.get(project, 0.0) + soon / _quota(quotas, project).weight


def _held_back(
    job: Job,
    active: Sequence[Job],
    cluster: Cluster,
    quotas: Mapping[str, Quota],
    ledger: Ledger,
) -> str | None:
    """What a job waits for; None: for nothing."""
    own = [other for other in active if other.project == job.project]
    impossible = fits_nowhere(job.size, cluster)
    if not cluster.machines:
        return "a machine: the cluster has none now"
    if impossible is not None:
        return f"a larger machine: {impossible}"
    beside = [other for other in active if other.queue == job.queue]
    for whose, limit, sharing in (
        ("project", _quota(quotas, job.project), own),
        ("queue", quotas.get(queue_key(job.queue), _NO_QUOTA), beside),
    ):
        if limit.jobs is not None and len(sharing) >= limit.jobs:
            return f"its {whose}'s quota: {limit.jobs} jobs at a time"
        if limit.slots is not None and len(sharing) >= limit.slots:
            return f"its {whose}'s quota: {limit.slots} slots"
    if len(active) >= cluster.drivers:
        return f"a driver: {cluster.drivers} jobs run at a time"
    if _one_each([*active, job], cluster):
        return None
    # All slots have a job of their own. It is let in beside them where its project is owed slots,
    # or where it matters more than something that its project runs.
    others = {other.project for other in active if other.project != job.project}
    weights = {p: _quota(quotas, p).weight for p in {*others, job.project}}
    deserves = cluster.slots(job.size) * weights[job.project] / sum(weights.values())
    if others and len(own) + 1 <= max(deserves, 1.0):
        return None
    if own and job.priority > min(other.priority for other in own):
        return None
    return "a slot: all are in use by jobs that came before it"


def _one_each(jobs: Sequence[Job], cluster: Cluster) -> bool:
    """Whether every job can have a slot at the same time."""
    room = _Room(cluster)
    largest_first = sorted(jobs, key=lambda job: (job.size.gpus, job.size.cpus), reverse=True)
    return all(room.take(job.size) for job in largest_first)


# ---- how many slots -----------------------------------------------------------------------------


def _share(
    active: Sequence[Job], cluster: Cluster, quotas: Mapping[str, Quota], ledger: Ledger
) -> dict[str, int]:
    """Slot after slot to the project, and in it the job, that has had the least for its weight."""
    room = _Room(cluster)
    slots = {job.id: 0 for job in active}
    by_project: dict[str, list[Job]] = {}
    for job in sorted(active, key=lambda job: job.id):
        by_project.setdefault(job.project, []).append(job)
    had_project = {p: ledger.projects.get(p, 0.0) for p in by_project}
    had_job = {job.id: ledger.jobs.get(job.id, 0.0) for job in active}
    while by_project:
        project = min(by_project, key=lambda p: (had_project[p], p))
        own = by_project[project]
        job = min(own, key=lambda j: (had_job[j.id], j.since, j.id))
        if not _may_have_more(job, active, slots, quotas) or not room.take(job.size):
            own.remove(job)
            if not own:
                del by_project[project]
            continue
        slots[job.id] += 1
        soon = cluster.unit(job.size) * QUANTUM_S
        had_job[job.id] += soon / _weight(job)
        had_project[project] += soon / _quota(quotas, project).weight
    return slots


def _may_have_more(
    job: Job, active: Sequence[Job], slots: Mapping[str, int], quotas: Mapping[str, Quota]
) -> bool:
    """Whether one more slot is within what it can use, and within what its project and its queue
    may have."""
    if job.most is not None and slots[job.id] >= job.most:
        return False
    of_project, of_queue = _limits(job, quotas)
    spent_project = sum(slots[one.id] for one in active if one.project == job.project)
    spent_queue = sum(slots[one.id] for one in active if one.queue == job.queue)
    return spent_project < of_project and spent_queue < of_queue


def _still_good(
    active: Sequence[Job], held: Mapping[str, int], cluster: Cluster, quotas: Mapping[str, Quota]
) -> bool:
    """Whether the slots as they are fit, and none is left that somebody could use."""
    room = _Room(cluster)
    for job in sorted(active, key=lambda job: (job.size.gpus, job.size.cpus), reverse=True):
        if job.most is not None and held[job.id] > job.most:
            return False
        if not all(room.take(job.size) for _ in range(held[job.id])):
            return False
    for job in active:
        of_project, of_queue = _limits(job, quotas)
        if sum(held[one.id] for one in active if one.project == job.project) > of_project:
            return False
        if sum(held[one.id] for one in active if one.queue == job.queue) > of_queue:
            return False
        if _may_have_more(job, active, held, quotas) and room.has(job.size):
            return False
    return True


class _Room:
    """What is left of the machines while slots are given out."""

    def __init__(self, cluster: Cluster) -> None:
        self._left = [[machine.cpus, machine.gpus] for machine in cluster.machines]

    def has(self, size: Size) -> bool:
        return self._place(size) is not None

    def take(self, size: Size) -> bool:
        """One slot, where it leaves the least GPUs, then CPUs, over."""
        place = self._place(size)
        if place is None:
            return False
        place[0] -= size.cpus
        place[1] -= size.gpus
        return True

    def _place(self, size: Size) -> list[float] | None:
        fitting = [
            left
            for left in self._left
            if left[0] >= size.cpus - 1e-9 and left[1] >= size.gpus - 1e-9
        ]
        return min(fitting, key=lambda left: (left[1], left[0]), default=None)


def _fits(machine: Machine, size: Size) -> int:
    rooms = [
        has / asks for has, asks in ((machine.cpus, size.cpus), (machine.gpus, size.gpus)) if asks
    ]
    return int(min(rooms, default=0.0) + 1e-9)


def queue_key(queue: str) -> str:
    """What a queue's limits stand under among the quotas: no project is called so."""
    return f"queue/{queue}"


def _limits(job: Job, quotas: Mapping[str, Quota]) -> tuple[float, float]:
    """Slots that a job's project and its queue may have."""
    project = _quota(quotas, job.project).slots
    queue = quotas.get(queue_key(job.queue), _NO_QUOTA).slots
    return math.inf if project is None else project, math.inf if queue is None else queue


def _quota(quotas: Mapping[str, Quota], project: str) -> Quota:
    return quotas.get(project) or quotas.get(ANY) or _NO_QUOTA


_NO_QUOTA = Quota()
