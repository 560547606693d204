"""What guards remember of a trial: a few numbers a pass, bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from automata_svc.trials.types import PassStats

WINDOW = 16  # guess: passes over which a gradient norm counts as usual


@dataclass
class GuardMemory:
    """Grows by one pass at a time; owned by a trial's state."""

    first_loss: float | None = None  # median loss of the first pass with a finite one
    loss: float | None = None  # of the latest pass
    norm: float | None = None  # median gradient norm of the latest pass
    non_finite: int = 0  # steps of the latest pass
    passes: int = 0
    _norms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    usual_norm: float | None = None  # median over the passes before the latest

    def add(self, stats: PassStats) -> None:
        self.passes += 1
        self.non_finite = stats.non_finite
        if stats.loss is not None:
            self.loss = stats.loss.median
            if self.first_loss is None:
                self.first_loss = self.loss
        if stats.grad_norm is not None:
            self.usual_norm = median(self._norms) if self._norms else None
            self.norm = stats.grad_norm.median
            self._norms.append(self.norm)
