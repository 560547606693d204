"""What the routes see: use cases, streams, limits and clock, made once for each app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

from automata_svc import __version__
from automata_svc.api.limits import Limits
from automata_svc.api.meters import Meters
from automata_svc.api.pages import Pages
from automata_svc.api.shown import frame
from automata_svc.jobs.feed import Feed
from automata_svc.jobs.hosted import Hosted
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.stored import Stored
from automata_svc.jobs.totals import Totals
from automata_svc.jobs.winner_zip import AT_ONCE
from automata_svc.selection.artefacts import FOLDER
from automata_svc.settings import Settings

if TYPE_CHECKING:
    from automata_svc.jobs.tokens import Tokens

STORE_PATIENCE_S = 5.0  # of a request: whoever asks is told to come back (503) rather than kept


@dataclass
class ServiceWorld:
    """One service's surroundings. `drain()` before a stop: readers of streams go on elsewhere."""

    service: LocalService
    hosted: Hosted
    feed: Feed
    tokens: Tokens
    pages: Pages
    totals: Totals
    stored: Stored  # subsets
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.time
    version: str = __version__
    meters: Meters = field(default_factory=Meters)
    packing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    draining: bool = False

    @classmethod
    def of(
        cls,
        settings: Settings,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> ServiceWorld:
        """The world over a database and a store; opens the database.

        Raises:
            Unavailable: the database cannot be opened.
        """
        from automata_svc.jobs.tokens import Tokens

        service, meters = LocalService(settings, STORE_PATIENCE_S), Meters()
        service.database.on_append = meters.appends.observe
        return cls(
            service=service,
            hosted=Hosted(service, clock),
            feed=Feed(service.database, frame),
            tokens=Tokens(service.database, clock),
            pages=Pages(settings.database_url.encode()),
            totals=Totals(service.database),
            stored=Stored(lambda: service.store, FOLDER),
            meters=meters,
            limits=limits or Limits.from_env(),
            clock=clock,
        )

    def drain(self) -> None:
        """Ends streams after what they have sent and makes /readyz say so; safe from any thread."""
        self.draining = True
        self.feed.close()


def world_of(request: Request) -> ServiceWorld:
    """The world of the app that a request came to."""
    world: ServiceWorld = request.app.state.world
    return world
