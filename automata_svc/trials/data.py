"""The rows a trial works with, as tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from automata_svc.datasets.types import Shape, Split
from automata_svc.selection.types import Arrays, keyed_rng
from automata_svc.trials.errors import TemplateError


@dataclass(frozen=True)
class TrialData:
    """What a runner hands to `run_segment`; made once per worker and used by all its trials.

    Arrays may be read-only shared memory: they are never written to.
    """

    shape: Shape
    train: Split
    val: Split
    open_test: Callable[[], Split] | None = None  # only ever opened in phase "test"
    artefact: Arrays = field(default_factory=dict)  # the strategy's model-free part
    device: str = "cpu"  # "cuda" where the resources ask for a GPU and there is one
    _tensors: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def train_tensors(self) -> tuple[Tensor, Tensor]:
        """(x, y) of the training rows; only ever gathered from, so they may alias shared memory."""
        if "train" not in self._tensors:
            self._tensors["train"] = tuple(
                alias(array).to(self.device) for array in (self.train.x, self.train.y)
            )
        x, y = self._tensors["train"]
        return x, y

    def val_split(self, limit: int, seed: int) -> EvalSplit:
        """The validation rows, or the job's own fixed `limit` of them (0: all)."""
        rows = len(self.val)
        key = f"val {limit} {seed}" if 0 < limit < rows else "val"
        if key not in self._tensors:
            chosen = stratified_rows(self.val.y, limit, seed) if key != "val" else None
            self._tensors[key] = EvalSplit.of("val", self.val, self.device, chosen)
        split: EvalSplit = self._tensors[key]
        return split

    def test_split(self) -> EvalSplit:
        if self.open_test is None:
            raise TemplateError("the test rows are asked for, and this segment was given none")
        return EvalSplit.of("test", self.open_test(), self.device)

    def forget(self, split: EvalSplit) -> None:
        """Drop a split that was written into, so that the next trial gets a clean one."""
        for key in [k for k, v in self._tensors.items() if v is split]:
            del self._tensors[key]


@dataclass(frozen=True, eq=False)
class EvalSplit:
    """Rows to evaluate on, as `trial.report`'s function gets them. Read, never written."""

    name: str  # "val" or "test"
    x: Tensor  # [n, d] float32, or [n, L] int32 token ids
    y: Tensor  # [n] int64

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, size: int = 1024) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows, labels) in order, at most `size` at a time."""
        yield from zip(torch.split(self.x, size), torch.split(self.y, size), strict=True)

    @classmethod
    def of(
        cls, name: str, split: Split, device: str, rows: NDArray[np.int64] | None = None
    ) -> EvalSplit:
        # Copied: a template gets to hold these, and shared memory must survive whatever it does.
        x, y = (np.array(a) if rows is None else a[rows] for a in (split.x, split.y))
        return cls(name, torch.from_numpy(x).to(device), torch.from_numpy(y).to(device))

    @property
    def version(self) -> tuple[int, int]:
        """Changes when somebody writes into the rows or labels."""
        return self.x._version, self.y._version


def device_for(wants_gpu: bool) -> str:
    """Where a trial computes: "cuda" if its resources ask for a GPU and torch finds one."""
    return "cuda" if wants_gpu and torch.cuda.is_available() else "cpu"


def stratified_rows(labels: NDArray[np.int64], limit: int, seed: int) -> NDArray[np.int64]:
    """At most `limit` rows with the classes in proportion, in ascending order.

    The same for every trial of a job, and nested: a smaller limit takes some of the same rows.

    Args:
        labels: [n] class numbers.
        limit: rows to take; ≥ 1.
        seed: of the job.
    """
    shuffled = keyed_rng(seed, "validation rows").permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    quantile = (place + 0.5) / counts[labels[order]]  # where in its class a row stands, 0..1
    return np.sort(order[np.argsort(quantile, kind="stable")[:limit]])


def alias(array: NDArray[Any]) -> Tensor:
    """A tensor on the array's own memory, also where that is read-only. Must not be written to.

    torch warns when it wraps a read-only array; here the wrapping is meant, so the memory is
    wrapped by its address, which keeps the array alive and raises no warning.
    """
    if array.flags.writeable or array.size == 0 or not array.flags.c_contiguous:
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    memory = (ctypes.c_byte * array.nbytes).from_address(array.ctypes.data)
    memory._owner = array  # type: ignore[attr-defined]  # lives as long as the tensor does
    return torch.from_numpy(
        np.frombuffer(memoryview(memory), dtype=array.dtype).reshape(array.shape)
    )
