"""What a dataset is once it is loaded: numbers, split into train, validation and test.

Letters in shapes: n rows of a split, d features, L tokens of a text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Rows of one split, ready to be trained on."""

    x: NDArray[Any]  # tabular: float32 [n, d], scaled by training rows; text: int32 [n, L], 0 pads
    y: NDArray[np.int64]  # [n] class numbers, 0..n_classes-1

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Shape:
    """What a template needs to know of a dataset to build a model; JSON-able."""

    name: str
    kind: Literal["tabular", "text"]
    n_train: int
    n_val: int
    n_test: int
    n_classes: int
    n_features: int  # tabular: d; text: L, tokens kept of each text
    vocabulary: int = 0  # text: number of token ids, 0 for padding and 1 for unknown included
    class_names: tuple[str, ...] = ()
    digest: str = ""  # sha256 over the source bytes and the split rule
    notes: tuple[str, ...] = ()  # what was done to it, in sentences a user reads


@dataclass(frozen=True)
class Dataset:
    """A loaded dataset. The test split is opened by the confirmation, and by nothing before it."""

    shape: Shape
    train: Split
    val: Split
    open_test: Callable[[], Split]  # reads it; not called before the confirmation
    texts: tuple[str, ...] | None = field(default=None, repr=False)  # raw training texts (encoders)
