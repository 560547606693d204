"""What is tried next: a function of job seed, trial number and the history."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automata_svc.tuning.searchers.base import SearcherKind
from automata_svc.tuning.searchers.grid import GRID
from automata_svc.tuning.searchers.qmc import QMC
from automata_svc.tuning.searchers.random import RANDOM
from automata_svc.tuning.searchers.tpe import TPE

SEARCHERS: Mapping[str, SearcherKind] = MappingProxyType(
    {"random": RANDOM, "qmc": QMC, "grid": GRID, "tpe": TPE}
)
