"""The one table of routers, in the order of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from automata_svc.api import (
    actions,
    asks,
    best,
    datasets,
    deliveries,
    events,
    health,
    jobs,
    logs,
    subsets,
    templates,
    tokens,
    trials,
    uploads,
)

ROUTERS: Sequence[APIRouter] = (
    jobs.routes,
    actions.routes,
    trials.routes,
    asks.routes,
    events.routes,
    logs.routes,
    best.routes,
    templates.routes,
    datasets.routes,
    subsets.routes,
    uploads.routes,
    tokens.routes,
    deliveries.routes,
    health.routes,
)
