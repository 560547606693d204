"""Which rows a pass steps on: the subset, re-selected when due, shuffled and cut into slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.types import (
    Arrays,
    Draw,
    GradientSource,
    Rows,
    Strategy,
    Subset,
    keyed_rng,
)
from automata_svc.trials.errors import CheckpointMismatch, TemplateError
from automata_svc.trials.types import PassTable, SegmentOrder


@dataclass(frozen=True)
class PassRows:
    """The rows of one pass, in the order they are stepped on."""

    indices: NDArray[np.int64]  # [r]
    weights: NDArray[np.float32] | None  # [r]; None: all 1
    forward_rows: int = 0  # looked at to select, when this pass selected
    facts: Mapping[str, float] = field(default_factory=dict)


class Walk:
    """A trial's way through its subsets.

    A walk goes once through the current subset in an order keyed by (job seed, trial, walk), and
    PassTable cuts it into passes. Selection number s serves walks s·select_every up to the next.
    A subset that depends on the weights is part of the checkpoint; any other is drawn again.
    """

    def __init__(
        self, order: SegmentOrder, strategy: Strategy, rows: Rows, artefact: Arrays, batch_size: int
    ) -> None:
        self._order = order
        self._table: PassTable = order.table
        self._strategy = strategy
        self._options = {**strategy.options, **order.strategy.options}
        self._rows = rows
        self._artefact = artefact
        self._batch_size = batch_size
        self._selection: int | None = None  # number of the subset held
        self._subset: Subset | None = None
        self._walk: int | None = None  # number of the walk whose order is held
        self._order_of_walk: NDArray[np.int64] | None = None

    @property
    def needs_gradients(self) -> bool:
        return "gradients" in self._strategy.needs

    def rows_of(self, p: int, gradients: GradientSource | None) -> PassRows:
        """The rows of pass `p`, at the model as it is when the pass starts."""
        walk, part = self._table.cycle(p)
        selection = walk // self._order.strategy.select_every
        due = walk % self._order.strategy.select_every == 0 and part == 0
        if selection != self._selection:
            if self.needs_gradients and not due:
                raise CheckpointMismatch(
                    f"pass {p} goes on with subset {selection} of strategy"
                    f" '{self._order.strategy.name}', and the checkpoint does not hold it"
                )
            self._subset = self._select(selection, gradients)
            self._selection = selection
            self._walk = None
        # Where a trial goes on within a walk the subset is drawn again, and told of only once.
        subset = self._subset
        assert subset is not None
        start = part * self._table.subset_rows // self._table.slices
        stop = start + self._table.rows_at(p + 1) - self._table.rows_at(p)
        here = self._shuffled(walk)[start:stop]
        weights = subset.weights[here]
        return PassRows(
            indices=subset.indices[here],
            weights=None if np.all(weights == 1.0) else weights,
            forward_rows=subset.forward_rows if due else 0,
            facts=subset.facts if due else {},
        )

    def _select(self, selection: int, gradients: GradientSource | None) -> Subset:
        order = self._order
        draw = Draw(
            size=self._table.subset_rows,
            index=selection,
            total=order.strategy.total_selections,
            seed=(order.seed, order.trial),
            batch_size=self._batch_size,
        )
        source = gradients if self.needs_gradients else None
        subset = self._strategy.select(self._rows, self._artefact, draw, self._options, source)
        if len(subset.indices) != draw.size:
            raise TemplateError(
                f"strategy '{order.strategy.name}' gave {len(subset.indices)} rows,"
                f" {draw.size} were asked for"
            )
        return subset

    def _shuffled(self, walk: int) -> NDArray[np.int64]:
        """[k] positions in the subset in the order of this walk."""
        if self._walk != walk or self._order_of_walk is None:
            # Keyed by the walk's first pass: unlike its number, unique from search to confirmation.
            first = self._table.first_pass + walk * self._table.slices
            rng = keyed_rng(self._order.seed, self._order.trial, "walk", first)
            self._order_of_walk = rng.permutation(self._table.subset_rows)
            self._walk = walk
        return self._order_of_walk

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint must keep: the subset, where it depends on the weights."""
        if self._subset is None or not self.needs_gradients:
            return None
        return {
            "strategy": self._order.strategy.name,
            "first_pass": self._table.first_pass,
            "selection": self._selection,
            "indices": self._subset.indices,
            "weights": self._subset.weights,
        }

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on with a subset from `state`; another strategy's is left alone (a confirmation)."""
        if state is None or state["strategy"] != self._order.strategy.name:
            return
        if state["first_pass"] != self._table.first_pass:
            return
        self._subset = Subset(indices=state["indices"], weights=state["weights"])
        self._selection = state["selection"]
