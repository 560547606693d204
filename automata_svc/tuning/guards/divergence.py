"""Training that runs away: the loss far above where it began, or gradients far above their usual
norm.

The hard stops of the SFT guide (Pareja et al. 2024, arXiv:2412.13337, read as algorithms §5.1
does): they compare a trial with its own past, never with another trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from automata_svc.tuning.guards.base import Trip
from automata_svc.tuning.guards.memory import GuardMemory

MIN_PASSES = 3  # guess: before that there is no past to compare with


class Divergence:
    """Fires on the median of a whole pass, so that one odd step does not end a trial."""

    options: Mapping[str, Any] = MappingProxyType(
        {
            # guess: cross entropy starts at about log C; a pass at thrice that is lost
            "loss_ratio": 3.0,
            "gradient_spike": 1000.0,  # guess: seen to pass 100 in healthy first passes
        }
    )

    def check(
        self, memory: GuardMemory, trip: str | None, options: Mapping[str, Any]
    ) -> Trip | None:
        if memory.passes < MIN_PASSES:
            return None
        limits = {**self.options, **options}
        first, loss = memory.first_loss, memory.loss
        if (
            first is not None
            and loss is not None
            and first > 0
            and loss > limits["loss_ratio"] * first
        ):
            return Trip(
                f"median loss of the pass {loss:.4g} is over {limits['loss_ratio']:g} × the first "
                f"pass's {first:.4g}",
                loss,
                limits["loss_ratio"] * first,
            )
        usual, norm = memory.usual_norm, memory.norm
        if usual is not None and norm is not None and usual > 0:
            limit = limits["gradient_spike"] * usual
            if norm > limit:
                return Trip(
                    f"median gradient norm of the pass {norm:.4g} is over "
                    f"{limits['gradient_spike']:g} × its usual {usual:.4g}",
                    norm,
                    limit,
                )
        return None
