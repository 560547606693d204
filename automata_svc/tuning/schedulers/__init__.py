"""Who goes on at a rung, and who does not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automata_svc.tuning.schedulers.asha import Asha
from automata_svc.tuning.schedulers.asha_promote import AshaPromote
from automata_svc.tuning.schedulers.base import Scheduler
from automata_svc.tuning.schedulers.fifo import Fifo
from automata_svc.tuning.schedulers.successive_halving import SuccessiveHalving

SCHEDULERS: Mapping[str, Scheduler] = MappingProxyType(
    {
        "fifo": Fifo(),
        "successive_halving": SuccessiveHalving(),
        "asha": Asha(),
        "asha_promote": AshaPromote(),
    }
)
