"""The Trial a template's `train` is handed: passes, batches, steps and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automata_svc.datasets.types import Shape
from automata_svc.errors import AutomataError
from automata_svc.selection.types import FactoredGradients
from automata_svc.trials.average import WeightAverage
from automata_svc.trials.checkpoint import Beside, pack, unpack
from automata_svc.trials.data import EvalSplit, TrialData
from automata_svc.trials.errors import TemplateError, TrialStopped
from automata_svc.trials.gradients import RowLoss, last_layer_gradients
from automata_svc.trials.params import TrialParams
from automata_svc.trials.process import reseed, undisturbed
from automata_svc.trials.steps import Finish, Stepper, stat
from automata_svc.trials.types import (
    Cost,
    PassStats,
    Reply,
    Report,
    SegmentOrder,
    checkpoint_key,
)
from automata_svc.trials.walk import Walk
from automata_svc.trials.weights import unit_weights

P = TypeVar("P", bound=TrialParams)
Metrics = Callable[[EvalSplit], Mapping[str, Any]]
Send = Callable[[Report], Reply]

GATHER_NUMBERS = 1 << 20  # guess: rows gathered at a time hold this many numbers (4 MB), near cache


class Blobs(Protocol):
    """What a trial needs of the blob store."""

    def put(self, key: str, data: bytes) -> object: ...

    def get(self, key: str) -> bytes: ...


class Trial(Generic[P]):
    """One configuration being trained, as its template sees it.

    `params` are this trial's values, `dataset` is what the data looks like.
    """

    params: P
    dataset: Shape
    device: torch.device  # put the model there

    def __init__(
        self,
        order: SegmentOrder,
        params: P,
        data: TrialData,
        walk: Walk,
        blobs: Blobs,
        send: Send,
        batch_size: int,
        finish: float,
    ) -> None:
        self.params = params
        self.dataset = data.shape
        self.device = torch.device(data.device)
        self._order = order
        self._data = data
        self._walk = walk
        self._blobs = blobs
        self._send = send
        self._batch_size = batch_size
        self._average = WeightAverage() if order.average else None
        self._stepper = Stepper(Finish(order.table, finish), self._average)
        self._due = {*order.checkpoints_at, *order.values_at, order.to_boundary}
        self._holders: tuple[Any, ...] = ()
        self._pass: int | None = None  # the pass being trained
        self._reported = self._batched = False
        self._rows = order.table.rows_at(order.from_boundary)  # stepped before the batch at hand
        self._facts: Mapping[str, float] = {}
        self._stats: list[PassStats] = []  # since the last report
        self._cost = Cost()
        self._started = 0.0
        self._select_seconds = 0.0
        self.finished = False  # the last report of the segment is out

    @property
    def progress(self) -> float:
        """How far the training is, 0 to 1: the share reached, of the share the search ends at."""
        return min(1.0, self._rows / (self._order.table.total_rows * self._order.max_share))

    def passes(self, model: Any, optimizer: Any, *more: Any) -> Iterator[int]:
        """The passes this segment trains, by number; goes on where a checkpoint left off.

        Args:
            model: what is trained.
            optimizer: what steps it.
            more: anything else with a state to keep (a schedule, averaged weights): whatever has
                `state_dict` and `load_state_dict`.

        Raises:
            CheckpointMismatch: the checkpoint is of another model, optimizer or batch size.
        """
        if self._holders:
            raise TemplateError("trial.passes was called twice; a trial is trained in one loop")
        self._holders = (model, optimizer, *more)
        for holder in self._holders:
            if not (hasattr(holder, "state_dict") and hasattr(holder, "load_state_dict")):
                raise TemplateError(
                    f"trial.passes was given a {type(holder).__name__}, which has no state_dict and"
                    " load_state_dict, so it could not go on after a restart"
                )
        order = self._order
        if not isinstance(model, nn.Module):
            self._average = self._stepper.average = None  # weights that we do not know
        self._resume()
        last = order.from_boundary + 1 if order.phase == "test" else order.to_boundary
        for p in range(order.from_boundary, last):
            self._start_pass(p)
            yield p
            if not self._reported:
                raise TemplateError(
                    f"pass {p} ended without trial.report; call it once at the end of each pass"
                )
            self._pass = None

    def batches(
        self, model: nn.Module, head: nn.Module | None = None, loss: RowLoss | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(rows [b, ...], labels [b], weights [b]) of this pass, from a new subset when it is due.

        Weights have mean 1 over the subset; `weighted_mean` uses them.

        Args:
            model: as it is now; strategies that look at gradients run it.
            head: its classifier layer, where that is not the last Linear that makes the logits.
            loss: (output, labels) → loss per row, for strategies that look at gradients; cross
                entropy where None.
        """
        if self._pass is None or self._batched:
            raise TemplateError("trial.batches is called once in each pass, inside trial.passes")
        self._batched = True
        if self._order.phase == "test":
            return
        x, y = self._data.train_tensors()
        before = perf_counter()

        def gradients(rows: NDArray[np.int64]) -> FactoredGradients:
            return last_layer_gradients(model, x, y, rows, head, loss)

        chosen = self._walk.rows_of(self._pass, gradients)
        self._select_seconds = perf_counter() - before
        self._facts = chosen.facts
        self._spend(Cost(forward_rows=chosen.forward_rows, select_seconds=self._select_seconds))
        sizes = batch_sizes(len(chosen.indices), self._batch_size)
        rows = torch.from_numpy(chosen.indices).to(self.device)
        weights = None
        if chosen.weights is not None:
            weights = torch.from_numpy(chosen.weights).to(self.device)
        per_gather = max(1, GATHER_NUMBERS // (self._batch_size * max(1, x[0].numel())))
        at = 0
        for first in range(0, len(sizes), per_gather):
            part = sizes[first : first + per_gather]
            stop = at + sum(part)
            here = rows[at:stop]
            xs = torch.split(x.index_select(0, here), part)
            ys = torch.split(y.index_select(0, here), part)
            if weights is None:
                ws: Any = [unit_weights(size, self.device) for size in part]
            else:
                ws = torch.split(weights[at:stop], part)
            for size, *batch in zip(part, xs, ys, ws, strict=True):
                yield batch[0], batch[1], batch[2]
                self._rows += size
            at = stop

    def step(
        self, loss: Tensor, model: nn.Module, optimizer: Any, clip_norm: float | None = None
    ) -> None:
        """Backward, optimizer step, gradients cleared.

        The loss and the gradient norm before clipping are recorded. A loss or norm that is not
        finite ends the trial, and that step is not applied. Over the end of a full training the
        learning rate is scaled down to 0 (the job's `confirm.finish`), unless the template says
        `OWN_SCHEDULE = True`.

        Args:
            loss: a scalar, as from `weighted_mean`.
            model: its gradients make the norm.
            optimizer: any torch optimizer.
            clip_norm: scale gradients down to this global L2 norm; None: as they are.
        """
        if self._pass is None:
            raise TemplateError("trial.step is called inside trial.passes")
        if not self._stepper.step(loss, model, optimizer, self._rows, clip_norm):
            self._trip("non_finite")

    def report(self, metrics: Metrics) -> None:
        """Ends a pass. `metrics` is called with a split where a value is due, else not at all.

        Where the job averages weights (`scheduler.average`), the model holds the averaged ones
        while `metrics` runs in a search below share 1; in a confirmation, and everywhere else, its
        own.

        Args:
            metrics: split → {"accuracy": …, "loss": …}; the split has tensors `x` and `y`, and
                `batches(size)`. Names get the split's in front: val_accuracy.
        """
        p, order = self._pass, self._order
        if p is None:
            raise TemplateError("trial.report is called at the end of a pass, inside trial.passes")
        if self._reported:
            raise TemplateError(f"trial.report was called twice in pass {p}")
        self._reported = True
        if order.phase == "test":
            values = {**self._evaluate(metrics, self._data.val_split(0, order.seed))}
            values |= self._evaluate(metrics, self._data.test_split())
            self._report(order.from_boundary, values, order.checkpoint, done=True)
            return
        self._close_pass(p)
        boundary = p + 1
        if boundary not in self._due:
            return
        key = self._save(boundary)
        values_due = order.values_at.get(boundary)
        found = None
        if values_due is not None:
            found = self._values(metrics, boundary, values_due)
        self._report(boundary, found, key, done=boundary == order.to_boundary)

    # ---- inside

    def _start_pass(self, p: int) -> None:
        self._pass = p
        self._reported = self._batched = False
        self._facts = {}
        self._select_seconds = 0.0
        self._stepper.start_pass()
        if self._average is not None:
            self._average.watch(self._holders[0])
        # Each pass has seeds of its own, so that a trial that goes on from here draws the same.
        reseed(self._order.seed, self._order.trial, p, "pass")
        self._started = perf_counter()

    def _close_pass(self, p: int) -> None:
        """Record a whole pass."""
        goal = self._order.table.rows_at(p + 1)
        if self._rows != goal:
            raise TemplateError(
                f"pass {p} ended after {self._rows - self._order.table.rows_at(p)} of"
                f" {goal - self._order.table.rows_at(p)} rows; go through all of trial.batches"
            )
        if self._stepper.count == 0:
            raise TemplateError(f"pass {p} made no trial.step; call it for each batch")
        self._record(p)
        if self._average is not None:
            self._average.watch(self._holders[0])
            self._average.update(self._rows)

    def _record(self, p: int) -> None:
        stepper, rows = self._stepper, self._rows - self._order.table.rows_at(p)
        self._stats.append(
            PassStats(
                number=p,
                rows=rows,
                steps=stepper.count,
                loss=stat(stepper.losses),
                grad_norm=stat(stepper.norms),
                non_finite=stepper.non_finite,
                facts=dict(self._facts),
            )
        )
        seconds = perf_counter() - self._started - self._select_seconds
        self._spend(Cost(train_rows=rows, train_seconds=seconds))

    def _trip(self, reason: str) -> None:
        """End the segment from inside a pass; the pass is reported as far as it came."""
        p = self._pass
        assert p is not None
        self._record(p)
        self._report(p, None, None, done=True, trip=reason)
        raise TrialStopped(reason)

    def _evaluate(self, metrics: Metrics, split: EvalSplit) -> dict[str, Any]:
        before, version = perf_counter(), split.version
        with undisturbed(*self._holders), torch.no_grad():
            found = metrics(split)
        if split.version != version:
            self._data.forget(split)
            raise TemplateError(f"the function given to trial.report wrote into {split.name} rows")
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise TemplateError(
                "the function given to trial.report must return metrics by name, as"
                f' {{"accuracy": 0.9, "loss": 0.3}}; it returned {found!r}'
            )
        self._spend(Cost(forward_rows=len(split), eval_seconds=perf_counter() - before))
        return {f"{split.name}_{name}": plain(value) for name, value in found.items()}

    def _values(self, metrics: Metrics, boundary: int, rows: int) -> dict[str, Any]:
        """The metrics on at most so many validation rows (0: all), of averaged weights if kept.

        At share 1 always of the model's own: the finish has calmed them, and a search that ends
        there delivers them.
        """
        split = self._data.val_split(rows, self._order.seed)
        if self._average is None or boundary == self._order.table.last:
            return self._evaluate(metrics, split)
        with self._average.in_place():
            return self._evaluate(metrics, split)

    def _save(self, boundary: int) -> str:
        order = self._order
        key = checkpoint_key(order.job, order.trial, boundary, order.segment)
        self._blobs.put(
            key,
            pack(self._holders, boundary, self._rows, self._batch_size, self._beside()),
        )
        return key

    def _resume(self) -> None:
        order = self._order
        if order.checkpoint is None:
            # A confirmation that starts over stands at a later pass than 0, and at row 0.
            if order.table.rows_at(order.from_boundary) > 0:
                raise AutomataError(
                    f"trial {order.trial} is to go on from pass {order.from_boundary} and has no"
                    " checkpoint to go on from"
                )
            return
        beside = unpack(
            self._blobs.get(order.checkpoint),
            self._holders,
            order.from_boundary,
            self._batch_size,
            order.checkpoint,
        )
        self._walk.restore(beside.subset)
        if self._average is not None:
            self._average.restore(beside.average, self.device)

    def _beside(self) -> Beside:
        average = None if self._average is None else self._average.state()
        return Beside(self._walk.state(), average)

    def _report(
        self,
        boundary: int,
        values: Mapping[str, Any] | None,
        checkpoint: str | None,
        done: bool,
        trip: str | None = None,
    ) -> None:
        report = Report(
            trial=self._order.trial,
            segment=self._order.segment,
            boundary=boundary,
            passes=tuple(self._stats),
            values=values,
            checkpoint=checkpoint,
            cost=self._cost,
            trip=trip,
            done=done,
        )
        self._stats, self._cost = [], Cost()
        self.finished = done
        if self._send(report) == "stop" and not done:
            raise TrialStopped("stopped by the driver")

    def _spend(self, cost: Cost) -> None:
        self._cost = self._cost + cost


def batch_sizes(rows: int, size: int) -> list[int]:
    """Sizes of a pass's batches: ⌈rows/size⌉ of them, nearly equal, none larger than asked.

    Whole batches and a rest would end each pass with a few rows' noisy step, just where a value is
    taken (letter: 10,500 = 41 × 256 + 4). A batch of one row, which batch normalisation cannot use,
    is avoided by one batch less.
    """
    count = -(-rows // size)
    if size > 1 and rows < 2 * count:
        count = max(1, rows // 2)
    least, more = divmod(rows, count)
    return [least + 1] * more + [least] * (count - more)


def plain(value: Any) -> Any:
    """A metric as plain data: zero-dimensional tensors and numpy numbers become python's."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
