"""Pages of what was pushed, and the names by which it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from automata_svc.api.world import ServiceWorld
from automata_svc.jobs.catalogue import Catalogue
from automata_svc.jobs.tenancy import Caller
from automata_svc.spec.bundle import Kind

if TYPE_CHECKING:
    from automata_svc.database import BundleRow

# A name, perhaps with the digest of a pushed one: nothing that could be a path.
NAMED = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[0-9a-f]{64})?$"


@dataclass(frozen=True)
class PageOf:
    """One page of bundles."""

    rows: tuple[BundleRow, ...]
    next_token: str | None

    @classmethod
    def pushed(
        cls,
        world: ServiceWorld,
        caller: Caller,
        project: str | None,
        kind: Kind,
        size: int,
        token: str | None,
    ) -> PageOf:
        """The bundles of a kind after those that `token` ends.

        Raises:
            SpecError: the token is of another list.
            NotFound: the project is not the caller's.
        """
        of = {"list": kind, "caller": caller.project, "project": project}
        before = None
        if token is not None:
            at, name, digest = world.pages.open(token, of)
            before = (float(at), str(name), str(digest))
        found = Catalogue(world.service).pushed(caller, project, kind, size + 1, before)
        rows = tuple(found[:size])
        more = len(found) > size
        last = (rows[-1].created_at, rows[-1].name, rows[-1].sha256) if more else None
        return cls(rows, None if last is None else world.pages.seal(last, of))
