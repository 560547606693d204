"""Rules that end a trial for what its own training looks like; asked before the scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automata_svc.tuning.guards.base import Guard
from automata_svc.tuning.guards.divergence import Divergence
from automata_svc.tuning.guards.non_finite import NonFinite

GUARDS: Mapping[str, Guard] = MappingProxyType(
    {"non_finite": NonFinite(), "divergence": Divergence()}
)
