"""What a route needs: the world, and a caller who may do what it does."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from automata_svc.api.auth import allowed
from automata_svc.api.world import ServiceWorld, world_of
from automata_svc.jobs.tenancy import Caller

World = Annotated[ServiceWorld, Depends(world_of)]

Reads = Annotated[Caller, Depends(allowed("jobs:read"))]
Writes = Annotated[Caller, Depends(allowed("jobs:write"))]
Tells = Annotated[Caller, Depends(allowed("trials:tell"))]
ReadsBundles = Annotated[Caller, Depends(allowed("bundles:read"))]
Pushes = Annotated[Caller, Depends(allowed("code:push"))]
Administers = Annotated[Caller, Depends(allowed("admin"))]
