"""Last-layer gradients of rows at the model as it is now, without a trace on the training.

The classifier head is the last nn.Linear whose output is the logits. Its gradient for row i is
e_i ⊗ [h_i; 1], where h_i is what it saw and e_i = ∂loss_i/∂(its output), taken by autograd from the
head on: nothing below the head is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from automata_svc.selection.types import FactoredGradients
from automata_svc.trials.errors import HeadNotFound, TemplateError
from automata_svc.trials.process import undisturbed

RowLoss = Callable[[Any, Tensor], Tensor]  # (what the model returns, labels [n]) → losses [n]

CHUNK_ROWS = 1024  # guess: forward rows at a time; bounds memory, large enough for full speed


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(output, labels, reduction="none")


def last_layer_gradients(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    rows: NDArray[np.int64],
    head: nn.Module | None = None,
    loss: RowLoss | None = None,
) -> FactoredGradients:
    """Gradients of the head for `rows`, in eval mode; model, optimizer and random state unchanged.

    Args:
        model: called as `model(x[rows])`.
        x: [N, ...] training rows.
        y: [N] labels.
        rows: [n] row numbers.
        head: the layer, where it is not the last Linear that makes the logits.
        loss: losses per row of the model's output; cross entropy where None.

    Raises:
        HeadNotFound: names the Linear layers that could be meant.
    """
    loss = loss or cross_entropy
    errors, inputs = [], []
    with undisturbed(model), torch.no_grad():
        model.eval()
        for part in torch.split(torch.from_numpy(rows).to(x.device), CHUNK_ROWS):
            batch, labels = x.index_select(0, part), y.index_select(0, part)
            if head is None:
                head, h, logits = find_head(model, batch)
                e = _errors(logits, logits, labels, loss)
            else:
                e, h = _from_head(model, head, batch, labels, loss)
            _check(h, e)
            errors.append(e.float())
            inputs.append(h.float())
    return FactoredGradients(
        errors=torch.cat(errors).cpu().numpy(),
        inputs=torch.cat(inputs).cpu().numpy(),
        bias=getattr(head, "bias", None) is not None,
    )


def find_head(model: nn.Module, batch: Tensor) -> tuple[nn.Linear, Tensor, Tensor]:
    """(the Linear whose output the model returns as it is, what it saw, its output).

    Raises:
        HeadNotFound: the output is not a tensor, or no Linear made it; names the Linear layers.
    """
    names = {m: n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    calls: list[tuple[nn.Linear, Tensor, Tensor]] = []
    hooks = [
        m.register_forward_hook(lambda module, args, out: calls.append((module, args[0], out)))
        for m in names
    ]
    try:
        result = model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(result, Tensor):
        for module, seen, output in reversed(calls):
            if output.data_ptr() == result.data_ptr() and output.shape == result.shape:
                return module, seen.detach(), output.detach().requires_grad_()
    layers = ", ".join(
        f"{name or 'the model itself'} ({m.in_features}→{m.out_features})"
        for m, name in names.items()
    )
    raise HeadNotFound(
        "no Linear layer's output is what the model returns, so the classifier head is not known;"
        " name it: trial.batches(model, head=model.LAYER), and loss= where the model does not"
        f" return logits. Linear layers: {layers or 'none'}"
    )


def _from_head(
    model: nn.Module, head: nn.Module, batch: Tensor, labels: Tensor, loss: RowLoss
) -> tuple[Tensor, Tensor]:
    """(e, h) of one batch; what follows the head is differentiated, nothing before it."""
    seen: list[tuple[Tensor, Tensor]] = []

    def cut(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        seen.append((args[0].detach(), leaf))
        torch.set_grad_enabled(True)
        return leaf

    hook = head.register_forward_hook(cut)
    try:
        with torch.no_grad():
            output = model(batch)
            if len(seen) != 1:
                raise TemplateError(f"the head was called {len(seen)} times in one forward pass")
            h, logits = seen[0]
            return _errors(output, logits, labels, loss), h
    finally:
        hook.remove()


def _errors(output: Any, logits: Tensor, labels: Tensor, loss: RowLoss) -> Tensor:
    """∂loss_i/∂logits_i for each row."""
    with torch.enable_grad():
        losses = loss(output, labels)
        if losses.shape != labels.shape:
            raise TemplateError(
                f"loss= must give one loss per row, {list(labels.shape)}; it gave"
                f" {list(losses.shape)}"
            )
        (errors,) = torch.autograd.grad(losses.sum(), logits)
    return errors


def _check(h: Tensor, e: Tensor) -> None:
    if h.ndim != 2 or e.ndim != 2:
        raise TemplateError(
            "last-layer gradients need one input and one output of the head per row; it saw"
            f" {list(h.shape)} and gave {list(e.shape)}"
        )
