"""/metrics: what was counted, and what stands in the database now."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_PLAIN_1_0_0, CollectorRegistry, Gauge, generate_latest

if TYPE_CHECKING:
    from automata_svc.api.world import ServiceWorld


def exposition(world: ServiceWorld) -> tuple[bytes, str]:
    """The text, and its media type."""
    now = CollectorRegistry()
    jobs = Gauge("automata_jobs", "Jobs by state and queue.", ("state", "queue"), registry=now)
    for state, queue, count in world.service.database.count_jobs():
        jobs.labels(state, queue).set(count)
    info = Gauge(
        "automata_build_info", "1, with what runs here.", ("version", "ray", "optuna"),
        registry=now,
    )  # fmt: skip
    info.labels(world.version, _version("ray"), _version("optuna")).set(1)
    return generate_latest(world.meters.registry) + generate_latest(now), CONTENT_TYPE_PLAIN_1_0_0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
