"""The ASGI app: routes, errors, limits and OpenAPI over one world."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from automata_svc.api import problems
from automata_svc.api.auth import Gate
from automata_svc.api.limits import BodyLimits
from automata_svc.api.observe import Observe
from automata_svc.api.routes import ROUTERS
from automata_svc.api.schemas import with_components
from automata_svc.api.world import ServiceWorld

DESCRIPTION = """\
Tunes models at the price of two or three trainings, and loses nothing when anything dies.

Every error is application/problem+json. Times are RFC 3339 in UTC. Lists go on with
`next_page_token`. A request that creates something takes an `Idempotency-Key`,
which stands for it for 24 hours.
"""


def make_app(world: ServiceWorld) -> FastAPI:
    """The app over a world; several may stand side by side."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        world.drain()

    app = FastAPI(
        title="automata_svc",
        version=world.version,
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.world = world
    app.state.gate = Gate.of(world.tokens, world.limits)
    problems.install(app)
    app.add_middleware(BodyLimits, limits=world.limits, refuse=problems.respond)
    app.add_middleware(Observe, meters=world.meters)
    for router in ROUTERS:
        app.include_router(router)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema = with_components(made)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
