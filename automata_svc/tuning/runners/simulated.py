"""Recorded or synthetic curves instead of training, and a clock moved by hand.

The real core runs against it: the same events, decisions and orders as on Ray, in seconds instead
of hours. It is how rung tables are compared, and how crashes are tested exhaustively.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from automata_svc.trials.types import Cost, PassStats, Report, SegmentOrder, Stat
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Reported


class Curves(Protocol):
    """What training would have shown."""

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        """Metrics at a share, with their split: val_… (and test_… in phase "test")."""
        ...

    def loss(self, order: SegmentOrder, share: float) -> float:
        """Training loss there."""
        ...

    def seconds(self, order: SegmentOrder) -> float:
        """How long a full training of this configuration takes."""
        ...


@dataclass
class HandClock:
    """Time that moves only when told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(order=True)
class _Due:
    time: float
    tie: tuple[int, int]
    order: SegmentOrder = field(compare=False)
    boundaries: tuple[int, ...] = field(compare=False)
    index: int = field(compare=False)
    from_boundary: int = field(compare=False)


class Simulated:
    """Runs orders on curves; several slots advance in simulated time, ties by trial number."""

    name = "simulated"

    def __init__(self, curves: Curves, clock: HandClock, start_s: float = 0.0) -> None:
        self._curves = curves
        self._n_val = self._n_test = 0
        self._clock = clock
        self._start_s = start_s  # what starting a segment takes
        self._due: list[_Due] = []

    def run(self, engine: Engine) -> None:
        self._n_val, self._n_test = engine.plan.n_val, engine.plan.n_test
        while not engine.finished:
            for order in engine.take_orders():
                self._start(order)
            if not self._due:
                return
            due = heapq.heappop(self._due)
            self._clock.now = max(self._clock.now, due.time)
            if not engine.wants(due.order.trial, due.order.segment):
                continue
            if engine.report(Reported(self._report(due))) == "continue":
                self._push(due.order, due.boundaries, due.index + 1, due.boundaries[due.index])

    def _start(self, order: SegmentOrder) -> None:
        marks = {*order.values_at, *order.checkpoints_at, order.to_boundary}
        boundaries = tuple(sorted(b for b in marks if b > order.from_boundary))
        self._push(order, boundaries or (order.to_boundary,), 0, order.from_boundary)

    def _push(
        self, order: SegmentOrder, boundaries: tuple[int, ...], index: int, previous: int
    ) -> None:
        if index >= len(boundaries):
            return
        rows = order.table.rows_at(boundaries[index]) - order.table.rows_at(previous)
        takes = self._curves.seconds(order) * rows / order.table.total_rows
        start = self._start_s if index == 0 else 0.0
        when = self._clock.now + start + takes
        due = _Due(when, (order.trial, order.segment), order, boundaries, index, previous)
        heapq.heappush(self._due, due)

    def _report(self, due: _Due) -> Report:
        order, boundary = due.order, due.boundaries[due.index]
        share = order.table.share_at(boundary)
        rows = order.table.rows_at(boundary) - order.table.rows_at(due.from_boundary)
        valued = boundary in order.values_at or order.phase == "test"
        loss = self._curves.loss(order, share)
        stat = Stat(loss, loss, loss)
        passes = (PassStats(boundary - 1, rows, 1, stat, Stat(1.0, 1.0, 1.0)),) if rows else ()
        key = f"checkpoints/{order.job}/{order.trial}/{boundary}-s{order.segment}.pt"
        return Report(
            trial=order.trial,
            segment=order.segment,
            boundary=boundary,
            passes=passes,
            values=dict(self._curves.values(order, share)) if valued else None,
            checkpoint=key if rows else None,
            cost=Cost(train_rows=rows, forward_rows=self._forward(order, boundary)),
            done=due.index == len(due.boundaries) - 1,
        )

    def _forward(self, order: SegmentOrder, boundary: int) -> int:
        if order.phase == "test":
            return self._n_val + self._n_test
        limit = order.values_at.get(boundary)
        if limit is None:
            return 0
        return min(limit or self._n_val, self._n_val)
