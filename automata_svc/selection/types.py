"""What selection works with: arrays in, rows and weights out. Knows nothing of trials or jobs.

Letters in shapes: N training rows, k rows of a subset, C classes, d features or last-layer width,
n rows of a pool, b mini-batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]  # a model-free artefact: plain numeric arrays by name


@dataclass(frozen=True)
class Subset:
    """The rows a trial trains on until the next selection."""

    indices: NDArray[np.int64]  # [k] rows of the training split, no repeats
    weights: NDArray[np.float32]  # [k] ≥ 0, scaled to mean 1, so the mean loss keeps its scale
    forward_rows: int = 0  # rows that were only run forward to choose these (priced at 1/3)
    facts: Mapping[str, float] = None  # type: ignore[assignment]  # e.g. residual, ess; for reports

    def __post_init__(self) -> None:
        if self.facts is None:
            object.__setattr__(self, "facts", {})


@dataclass(frozen=True)
class Rows:
    """The training split as a strategy may look at it before any model exists."""

    labels: NDArray[np.int64]  # [N] in 0..C-1
    n_classes: int
    embeddings: NDArray[np.float32] | None = None  # [N, d]; only for strategies that need them
    # What a strategy would compute again for each selection of a trial; lives as long as the trial.
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FactoredGradients:
    """Last-layer gradients of n rows, never multiplied out: g_i = vec(e_i ⊗ [h_i; 1])."""

    errors: NDArray[np.float32]  # [n, C] e_i = ∂loss_i/∂logits_i (p_i − y_i for cross entropy)
    inputs: NDArray[np.float32]  # [n, d] h_i, what the head saw
    bias: bool = True  # whether the head has a bias, i.e. whether the 1 is there


# rows of the training split → their last-layer gradients at the model as it is now
GradientSource = Callable[[NDArray[np.int64]], FactoredGradients]


@dataclass(frozen=True)
class Draw:
    """One request for a subset. `rng(purpose)` is keyed by (job seed, trial, index, purpose)."""

    size: int  # k
    index: int  # 0 for the first selection of a trial, then 1, 2, …
    total: int  # selections up to a search's last rung (for curricula); ≥ 1
    seed: tuple[int, int]  # (job seed, trial number)
    batch_size: int = 32  # the trial's mini-batch, the atom of mini-batch gradient matching

    def rng(self, purpose: str) -> np.random.Generator:
        return keyed_rng(*self.seed, self.index, purpose)

    def trial_rng(self, purpose: str) -> np.random.Generator:
        """The same for every selection of a trial: for draws that span selections."""
        return keyed_rng(*self.seed, purpose)


def keyed_rng(*key: int | str) -> np.random.Generator:
    """A generator that depends on its key alone: same key, same draws, in any process."""
    words: list[int] = []
    for part in key:
        if isinstance(part, str):
            raw = part.encode()
            words.append(len(raw))
            words.extend(raw)
        else:
            words.extend((int(part) & 0xFFFFFFFF, (int(part) >> 32) & 0xFFFFFFFF))
    return np.random.default_rng(np.random.SeedSequence(words))


class Strategy(Protocol):
    """How rows are chosen.

    Duties, which tests/contracts/test_strategy.py holds every row of STRATEGIES to: exactly
    `draw.size` distinct rows in range (`full`: all N); finite weights ≥ 0 of mean 1; the same draw
    gives the same rows; nothing global is touched (numpy, torch and python random state, grads);
    nothing of size N² or N×C·d is formed; `prepare` is deterministic in its arguments, and its
    arrays hold everything model-free that `select` needs.
    """

    version: int  # raise it when the same arguments give other rows: artefacts are keyed by it
    needs: frozenset[str]  # of {"embeddings", "gradients"}
    options: Mapping[
        str, Any
    ]  # option name → default; the job's `subset.options` are checked by it
    allowed: Mapping[str, Any]  # option name → (lowest, highest) or the names to choose from

    def prepare(self, rows: Rows, size: int, seed: int, options: Mapping[str, Any]) -> Arrays:
        """The model-free part, computed once and shared by all trials; {} when there is none."""
        ...

    def select(
        self,
        rows: Rows,
        artefact: Arrays,
        draw: Draw,
        options: Mapping[str, Any],
        gradients: GradientSource | None = None,
    ) -> Subset:
        """The subset number `draw.index` of a trial.

        Raises:
            SelectionError: a signal is not finite (names the row), or the size is out of range.
        """
        ...
