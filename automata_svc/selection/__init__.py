"""Which rows a trial trains on: arrays in, rows and weights out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automata_svc.selection.adaptive_random import AdaptiveRandom
from automata_svc.selection.automata import Automata
from automata_svc.selection.errors import SelectionError
from automata_svc.selection.full import Full
from automata_svc.selection.milo import Milo
from automata_svc.selection.random_fixed import RandomFixed
from automata_svc.selection.types import (
    Arrays,
    Draw,
    FactoredGradients,
    GradientSource,
    Rows,
    Strategy,
    Subset,
    keyed_rng,
)

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "full": Full(),
        "random": RandomFixed(),
        "adaptive_random": AdaptiveRandom(),
        "automata": Automata(),
        "milo": Milo(),
    }
)

__all__ = [
    "STRATEGIES",
    "Arrays",
    "Draw",
    "FactoredGradients",
    "GradientSource",
    "Rows",
    "SelectionError",
    "Strategy",
    "Subset",
    "keyed_rng",
]
