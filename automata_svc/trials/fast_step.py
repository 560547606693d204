"""The optimizer step without its wrapping, where that changes nothing.

Measured (an MLP of 77k weights, batch 32, one thread): of 490 µs for a step of SGD(fused=True),
about 45 are spent in `Optimizer.step` around the arithmetic (hooks, a profiler range, grad-mode
switches, collecting state). torch's functional form of the same optimizer does the same arithmetic
without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.adam import adam
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.optim.sgd import sgd


def step(optimizer: Any, scale: float) -> bool:
    """Step at `scale` times each group's learning rate; False, and nothing done, where it cannot.

    It can for torch's own SGD, Adam and AdamW with `fused=True`, from their second step on, where
    nobody hooks into or replaces `step` (a learning-rate schedule of torch's does), and each
    parameter has a gradient. Bit for bit what `optimizer.step()` would do.
    """
    kind = type(optimizer)
    if kind not in _STEPS or "step" in vars(optimizer) or _is_hooked(optimizer):
        return False
    ready = []
    for group in optimizer.param_groups:
        arguments = _STEPS[kind].arguments(optimizer.state, group)
        if arguments is None:
            return False
        ready.append((group, arguments))
    with torch.no_grad():
        for group, arguments in ready:
            _STEPS[kind].run(group, group["lr"] * scale, *arguments)
    return True


def _is_hooked(optimizer: Any) -> bool:
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


def _gradients(group: dict[str, Any]) -> list[Any] | None:
    """The group's gradients; None where one is missing or an option asks for torch's own step."""
    gradients = [p.grad for p in group["params"]]
    odd = not group["fused"] or group["differentiable"] or type(group["lr"]) is not float
    return None if odd or any(g is None for g in gradients) else gradients


class _Sgd:
    @staticmethod
    def arguments(state: Any, group: dict[str, Any]) -> tuple[Any, ...] | None:
        gradients = _gradients(group)
        if gradients is None:
            return None
        if group["momentum"] == 0:
            return gradients, [None] * len(gradients)  # torch keeps no state then
        buffers = [state[p].get("momentum_buffer") for p in group["params"]]
        if any(buffer is None for buffer in buffers):
            return None  # the first step makes them
        return gradients, buffers

    @staticmethod
    def run(group: dict[str, Any], lr: float, gradients: list[Any], buffers: list[Any]) -> None:
        sgd(
            group["params"],
            gradients,
            buffers,
            fused=True,
            lr=lr,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )


class _Adam:
    @staticmethod
    def arguments(state: Any, group: dict[str, Any]) -> tuple[Any, ...] | None:
        gradients = _gradients(group)
        if gradients is None or group["amsgrad"] or group["capturable"]:
            return None
        held = [state[p] for p in group["params"]]
        if not all(held):
            return None  # the first step fills them
        return (gradients, *([s[n] for s in held] for n in ("exp_avg", "exp_avg_sq", "step")))

    @staticmethod
    def run(
        group: dict[str, Any],
        lr: float,
        gradients: list[Any],
        means: list[Any],
        squares: list[Any],
        steps: list[Any],
    ) -> None:
        beta1, beta2 = group["betas"]
        adam(
            group["params"],
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            decoupled_weight_decay=group["decoupled_weight_decay"],
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )


_STEPS: dict[type, type[_Sgd] | type[_Adam]] = {
    torch.optim.SGD: _Sgd,
    torch.optim.Adam: _Adam,
    torch.optim.AdamW: _Adam,
}
