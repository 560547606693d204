"""/metrics: what this process counted, and what the database counts of all jobs.

    automata_jobs{state,queue}                    automata_driver_restarts_total{reason}
    automata_jobs_submitted_total{project}        automata_lease_lost_total
    automata_job_queue_seconds                    automata_drivers
    automata_trials{state}                        automata_subset_cache_requests_total
    automata_trials_finished_total{reason}                                {result,strategy}
    automata_trial_reports_total                  automata_subset_select_seconds{strategy}
    automata_webhook_deliveries_total{result}     automata_subset_bytes
    automata_event_log_append_seconds             automata_sse_clients
    automata_http_request_duration_seconds        automata_build_info{version,ray,optuna}
                        {route,method,code}

No label names a job, a trial or a token. What the database counts is some seconds old, and the same
from each of several processes: take the maximum of them, not the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_PLAIN_1_0_0, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from automata_svc.jobs.totals import BUCKETS, INFINITE, Labels, Picture

if TYPE_CHECKING:
    from automata_svc.api.world import ServiceWorld

# name in the database → what it is, and its labels
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "jobs_submitted": ("Jobs that were taken.", ("project",)),
        "trials_finished": (
            "Trials by why they first ended: rung, guard, failed, completed, cancelled.",
            ("reason",),
        ),
        "trial_reports": ("Reports of progress, up to each job's last decision.", ()),
        "driver_restarts": (
            "Drivers after a job's first: fault, recycled, resumed, taken over.",
            ("reason",),
        ),
        "lease_lost": ("Drivers that were at work when their job was taken from them.", ()),
        "subset_cache_requests": (
            "Jobs that asked for a stored subset: hit, or miss and computed.",
            ("result", "strategy"),
        ),
        "webhook_deliveries": ("Webhooks that were delivered, or given up: dead.", ("result",)),
    }
)
HISTOGRAMS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "job_queue_seconds": ("From a job's submission to its first driver.", ()),
        "subset_select_seconds": ("To compute a subset that was not stored.", ("strategy",)),
    }
)


def exposition(world: ServiceWorld) -> tuple[bytes, str]:
    """The text, and its media type.

    Raises:
        Unavailable: the database is away.
    """
    now = CollectorRegistry()
    now.register(_Families([*_of_jobs(world.totals.read()), *_subsets(world), _build(world)]))
    return generate_latest(world.meters.registry) + generate_latest(now), CONTENT_TYPE_PLAIN_1_0_0


class _Families(Collector):
    """Metrics that are made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _of_jobs(picture: Picture) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "automata_jobs",
        "Jobs by state and queue; of those that are over also such as were deleted since.",
        labels=("state", "queue"),
    )
    for labels, value in picture.totals.get("jobs", {}).items():
        jobs.add_metric(_values(("state", "queue"), labels), value)
    yield jobs
    trials = GaugeMetricFamily(
        "automata_trials", "Trials of jobs that are not over, by state.", labels=("state",)
    )
    for state, count in picture.trials.items():
        trials.add_metric((state,), count)
    yield trials
    yield GaugeMetricFamily(
        "automata_drivers", "Jobs that a driver is at work on.", value=picture.drivers
    )
    for name, (about, names) in COUNTERS.items():
        counter = CounterMetricFamily(f"automata_{name}", about, labels=names)
        found = picture.totals.get(name, {} if names else {(): 0.0})
        for labels, value in found.items():
            counter.add_metric(_values(names, labels), value)
        yield counter
    for name in HISTOGRAMS:
        yield _histogram(name, picture)


def _histogram(name: str, picture: Picture) -> Metric:
    about, names = HISTOGRAMS[name]
    family = HistogramMetricFamily(f"automata_{name}", about, labels=names)
    buckets = picture.totals.get(f"{name}_bucket", {})
    bounds = [f"{bound:g}" for bound in BUCKETS[name]] + [INFINITE]
    for labels, total in picture.totals.get(f"{name}_sum", {}).items():
        below, count = [], 0.0
        for bound in bounds:
            count += buckets.get(tuple(sorted((*labels, ("le", bound)))), 0.0)
            below.append((bound, count))
        family.add_metric(_values(names, labels), below, total)
    return family


def _values(names: tuple[str, ...], labels: Labels) -> tuple[str, ...]:
    known = dict(labels)
    return tuple(known[name] for name in names)


def _subsets(world: ServiceWorld) -> Iterator[Metric]:
    """Nothing until the store has answered for the first time: nobody waits for it here."""
    size = world.stored.read()
    if size is not None:
        about = "What stored subsets take in the blob store, looked at now and then."
        yield GaugeMetricFamily("automata_subset_bytes", about, value=size)


def _build(world: ServiceWorld) -> Metric:
    info = GaugeMetricFamily(
        "automata_build_info", "1, with what runs here.", labels=("version", "ray", "optuna")
    )
    info.add_metric((world.version, _version("ray"), _version("optuna")), 1)
    return info


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
