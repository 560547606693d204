"""One optimizer step, and what a pass's steps looked like. The hot path of the whole product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from automata_svc.trials import fast_step
from automata_svc.trials.average import EVERY, WeightAverage
from automata_svc.trials.types import PassTable, Stat

MANY_TENSORS = 16  # measured: below it python adds the norms faster than two more torch calls do


class Finish:
    """Over the last `share` of the training the learning rate goes linearly to 0.

    With r rows stepped before a step, of R in all, and the finish starting at F = (1 − share)·R,
    the optimizer's own rate is multiplied by min(1, (R − r) / (R − F)).
    """

    def __init__(self, table: PassTable, share: float) -> None:
        self._total = table.total_rows
        self.start = (1.0 - share) * self._total if share > 0 else math.inf

    def scale(self, rows: int) -> float:
        if rows <= self.start:
            return 1.0
        return (self._total - rows) / (self._total - self.start)


class Stepper:
    """Backward, gradient norm, optimizer step; remembers losses and norms of the pass."""

    def __init__(self, finish: Finish, average: WeightAverage | None = None) -> None:
        self._finish = finish
        self.average = average
        self._model: Any = None
        self._optimizer: Any = None
        self._parameters: list[Tensor] = []
        self.start_pass()

    def start_pass(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.count = 0
        self.non_finite = 0
        self._model = None  # the parameters are listed anew: layers may have been added or frozen

    def step(
        self, loss: Tensor, model: Any, optimizer: Any, rows: int, clip_norm: float | None
    ) -> bool:
        """One step; False, and nothing applied, where the loss or the norm is not finite.

        Args:
            loss: a scalar.
            model: its parameters' gradients make the norm, with those the optimizer holds.
            optimizer: steps; its own learning rate is what it was afterwards.
            rows: training rows stepped before this one.
            clip_norm: gradients are scaled down to this norm; None: not.
        """
        loss.backward()  # type: ignore[no-untyped-call]
        if model is not self._model or optimizer is not self._optimizer:
            self._remember(model, optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = global_norm(gradients)
        value = loss.item()
        if self.average is not None and self.count % EVERY == 0:
            self.average.update(rows)
        self.count += 1
        applied = math.isfinite(value) and math.isfinite(norm)
        if applied:
            self.losses.append(value)
            self.norms.append(norm)
            if clip_norm is not None and norm > clip_norm:
                torch._foreach_mul_(gradients, clip_norm / norm)
            scale = self._finish.scale(rows)
            if not fast_step.step(optimizer, scale):
                step_scaled(optimizer, scale)
        else:
            self.non_finite += 1
        for p in self._parameters:
            p.grad = None
        return applied

    def _remember(self, model: Any, optimizer: Any) -> None:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        # A dict: a parameter that both hold counts once.
        self._parameters = list(dict.fromkeys([*model.parameters(), *held]))
        self._model, self._optimizer = model, optimizer


def step_scaled(optimizer: Any, scale: float) -> None:
    """Step at `scale` times each group's own rate, which is put back, whatever set it."""
    if scale == 1.0:
        optimizer.step()
        return
    own = [group["lr"] for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = rate * scale
        optimizer.step()
    finally:
        for group, rate in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = rate


def global_norm(gradients: list[Tensor]) -> float:
    """L2 norm over all gradients together; 0 where there are none."""
    if not gradients:
        return 0.0
    norms = torch._foreach_norm(gradients)
    if len(norms) < MANY_TENSORS and norms[0].device.type == "cpu":
        return math.hypot(*[norm.item() for norm in norms])
    return float(torch.linalg.vector_norm(torch.stack(norms)).item())


def stat(values: Sequence[float]) -> Stat | None:
    """Last, median and largest of the finite steps of a pass; None when there was none."""
    if not values:
        return None
    return Stat(last=values[-1], median=float(np.median(values)), max=max(values))
