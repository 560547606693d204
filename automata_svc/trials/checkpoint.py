"""A trial's state as bytes, and back, strictly."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from automata_svc.trials.errors import CheckpointMismatch

FORMAT = 1


@dataclass(frozen=True)
class Beside:
    """What a checkpoint holds beside the template's own objects."""

    subset: Mapping[str, Any] | None = None  # `Walk.state()`
    average: Mapping[str, Any] | None = None  # `WeightAverage.state()`


def pack(
    holders: Sequence[Any], boundary: int, rows: int, batch_size: int, beside: Beside
) -> bytes:
    """Bytes of everything that the next pass depends on.

    Args:
        holders: what the template handed to `trial.passes`, in its order.
        boundary: passes done.
        rows: training rows stepped.
        batch_size: the trial's.
        beside: what is not the template's.
    """
    body = {
        "format": FORMAT,
        "boundary": boundary,
        "rows": rows,
        "batch_size": batch_size,
        "classes": [_class(holder) for holder in holders],
        "shapes": [_shapes(holder) for holder in holders],
        "states": [_plain(holder.state_dict()) for holder in holders],
        "subset": None if beside.subset is None else _to_tensors(beside.subset),
        "average": None if beside.average is None else dict(beside.average),
    }
    out = io.BytesIO()
    torch.save(body, out)
    return out.getvalue()


def unpack(
    data: bytes, holders: Sequence[Any], boundary: int, batch_size: int, name: str
) -> Beside:
    """Put a checkpoint into `holders` and return what else it holds.

    Only plain data is read (`weights_only`): a checkpoint runs no code.

    Raises:
        CheckpointMismatch: something does not fit; the message names it and `name`.
    """

    def differs(what: str, has: Any, wants: Any) -> CheckpointMismatch:
        return CheckpointMismatch(
            f"checkpoint {name} does not fit this trial: {what} is {has}, not {wants}"
        )

    try:
        body = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises whatever its reader met
        raise CheckpointMismatch(f"checkpoint {name} cannot be read: {_said(error)}") from error
    if body.get("format") != FORMAT:
        raise differs("its format", body.get("format"), FORMAT)
    if body["boundary"] != boundary:
        raise differs("its pass boundary", body["boundary"], boundary)
    if body["batch_size"] != batch_size:
        raise differs("the batch size", body["batch_size"], batch_size)
    classes = [_class(holder) for holder in holders]
    if body["classes"] != classes:
        raise differs("what trial.passes was given", body["classes"], classes)
    for holder, shapes, state in zip(holders, body["shapes"], body["states"], strict=True):
        _check_shapes(holder, shapes, differs)
        try:
            holder.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointMismatch(
                f"checkpoint {name} does not fit {_class(holder)}: {error}"
            ) from error
    subset = body["subset"]
    return Beside(None if subset is None else _to_arrays(subset), body.get("average"))


def _plain(value: Any) -> Any:
    """The value with Python's numbers for NumPy's, which `weights_only` refuses.

    A learning rate from np.cos is one. What holds none is handed back itself: a module's state has
    its version beside its items.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        items = {key: _plain(item) for key, item in value.items()}
        return value if all(items[key] is item for key, item in value.items()) else items
    if type(value) in (list, tuple):
        parts = type(value)(map(_plain, value))
        return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
    return value


def _said(error: Exception) -> str:
    """What torch's reader met, without its advice to trust the file."""
    refused = re.search(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)", str(error))
    if refused is None:
        return str(error).splitlines()[0]
    return (
        f"it holds {refused[1]}, and only tensors, numbers, texts, lists and dicts are read; "
        "keep those in the state_dict of what trial.passes is given"
    )


def _class(holder: Any) -> str:
    return type(holder).__qualname__


def _shapes(holder: Any) -> dict[str, list[int]]:
    """Shapes by name of what the holder's state is about: weights, or an optimizer's parameters."""
    if isinstance(holder, nn.Module):
        tensors = {n: v for n, v in holder.state_dict().items() if isinstance(v, torch.Tensor)}
    elif isinstance(holder, torch.optim.Optimizer):
        tensors = {
            f"group {g}, parameter {i}": p
            for g, group in enumerate(holder.param_groups)
            for i, p in enumerate(group["params"])
        }
    else:
        tensors = {}
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def _check_shapes(holder: Any, stored: Mapping[str, list[int]], differs: Any) -> None:
    wanted = _shapes(holder)
    for name in [*wanted, *(n for n in stored if n not in wanted)]:
        has, wants = stored.get(name, "missing"), wanted.get(name, "unknown to it")
        if has != wants:
            raise differs(f"{_class(holder)} '{name}'", has, wants)


def _to_tensors(subset: Mapping[str, Any]) -> dict[str, Any]:
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in subset.items()}


def _to_arrays(subset: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in subset.items()}
