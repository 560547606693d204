"""What crosses between the driver and a worker: an order to run a segment, reports back. JSON-able.

Pass numbers count from 0 within a trial; "after pass p" means p + 1 passes are done. A boundary is
a number of passes done, so boundary 0 is the untrained model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from automata_svc.blobs.signed import Access

Phase = Literal["search", "confirm", "test"]


@dataclass(frozen=True)
class PassTable:
    """How the rows of one training fall into passes.

    A subset of `subset_rows` rows is walked in `slices` nearly equal parts, each of them a pass.
    The same for all trials of a job, so that a rung is a pass boundary.
    """

    total_rows: int  # epochs × N, share 1
    subset_rows: int  # k
    slices: int  # passes that one subset is walked in; ≥ 1
    first_pass: int = 0  # the table starts at this boundary (a confirmation goes on from a rung)
    first_rows: int = 0  # rows stepped before it

    def rows_at(self, boundary: int) -> int:
        """Rows stepped when `boundary` passes are done."""
        cycle, part = divmod(boundary - self.first_pass, self.slices)
        rows = self.first_rows + cycle * self.subset_rows + part * self.subset_rows // self.slices
        return min(rows, self.total_rows)

    def boundary_at(self, rows: int) -> int:
        """The first boundary with at least `rows` rows stepped (at most the last one)."""
        if rows <= self.first_rows:
            return self.first_pass
        goal = min(rows, self.total_rows)
        cycles = (goal - self.first_rows) // self.subset_rows
        boundary = self.first_pass + max(0, cycles) * self.slices
        while self.rows_at(boundary) < goal:
            boundary += 1
        return boundary

    @property
    def last(self) -> int:
        """The boundary at share 1."""
        return self.boundary_at(self.total_rows)

    def share_at(self, boundary: int) -> float:
        return self.rows_at(boundary) / self.total_rows

    def cycle(self, p: int) -> tuple[int, int]:
        """(which subset walk, which slice of it) pass `p` is."""
        return divmod(p - self.first_pass, self.slices)


@dataclass(frozen=True)
class StrategyOrder:
    """How a segment chooses its rows."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    select_every: int = 1  # subset walks between selections
    total_selections: int = 1  # up to the last rung, for curricula
    artefact: str | None = None  # key of the model-free part, where the strategy has one


@dataclass(frozen=True)
class SegmentOrder:
    """One uninterrupted run of a trial on a worker."""

    job: str
    trial: int
    segment: int  # from 0; in the path of whatever it writes
    phase: Phase
    params: Mapping[str, Any]  # every parameter of the template: searched, set and defaulted
    seed: int  # of the job
    table: PassTable
    from_boundary: int
    to_boundary: int  # equal to from_boundary in phase "test": only evaluate
    checkpoint: str | None  # blob to start from
    # boundary → validation rows to evaluate on at most (0: all of them); a value is due there
    values_at: Mapping[int, int]
    # boundaries where a checkpoint is written and a report sent (values_at and to_boundary are too)
    checkpoints_at: tuple[int, ...]
    strategy: StrategyOrder
    finish: float  # share of the training over which the lr goes linearly to 0; 0: never
    threads: int = 1
    max_share: float = 1.0  # trial.progress is share / max_share
    average: bool = False  # values in the search are those of averaged weights
    # what of the store the worker may read and write; None: it opens the store itself
    access: Access | None = field(default=None, repr=False)


def checkpoint_key(job: str, trial: int, boundary: int, segment: int) -> str:
    """Where a checkpoint lives; the segment is in it since a worker may outlive its driver."""
    return f"checkpoints/{job}/{trial}/{boundary}-s{segment}.pt"


@dataclass(frozen=True)
class Stat:
    """A quantity over the steps of one pass."""

    last: float
    median: float
    max: float


@dataclass(frozen=True)
class PassStats:
    """What one pass looked like from inside."""

    number: int
    rows: int  # training rows stepped
    steps: int
    loss: Stat | None  # of the finite steps; None when none was
    grad_norm: Stat | None  # global L2 norm before any clipping
    non_finite: int = 0  # steps with a loss or gradient norm that is not finite
    facts: Mapping[str, float] = field(default_factory=dict)  # e.g. selection residual, ESS


@dataclass(frozen=True)
class Cost:
    """What it took, since the last report."""

    train_rows: int = 0
    forward_rows: int = 0  # evaluation, selection pools
    train_seconds: float = 0.0
    select_seconds: float = 0.0
    eval_seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.train_rows + other.train_rows,
            self.forward_rows + other.forward_rows,
            self.train_seconds + other.train_seconds,
            self.select_seconds + other.select_seconds,
            self.eval_seconds + other.eval_seconds,
        )


@dataclass(frozen=True)
class Report:
    """What a worker tells the driver: the passes since the last report, and where it stands."""

    trial: int
    segment: int
    boundary: int  # passes done
    passes: tuple[PassStats, ...]
    # metrics by name with their split: {"val_accuracy": .9, "val_loss": .3}; None: no value was
    # due.
    # Values are what the template returned: anything. The driver's gate decides what they are
    # worth.
    values: Mapping[str, Any] | None
    checkpoint: str | None  # durable before this report is sent
    cost: Cost
    trip: str | None = None  # "non_finite": the worker stopped the segment itself
    done: bool = False  # nothing more comes from this segment


Reply = Literal["continue", "stop"]
