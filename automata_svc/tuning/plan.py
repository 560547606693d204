"""A job with all decided that can be decided before it runs. Frozen, JSON-able, stored with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from automata_svc.trials.types import PassTable

FORWARD_PRICE = 1 / 3  # cited: a backward pass costs about two forward ones (algorithms, §7.3)
CONFIRM_VALUES_FROM = 0.5  # share from which a confirmation is evaluated
CONFIRM_VALUES_EVERY = 0.1


@dataclass(frozen=True)
class Rung:
    """A share at which it is decided who goes on."""

    asked: float  # share asked for
    boundary: int  # passes done when it is reached: asked, rounded up
    rows: int  # rows stepped by then
    share: float  # where it lands: rows / (epochs × N)
    keep: int | None  # how many go on from here (synchronous schedulers)
    eval_rows: int = 0  # validation rows a value here is taken on at most; 0: all
    rank_by: tuple[str, ...] | None = None  # what ranks here; None: as everywhere in the plan


@dataclass(frozen=True)
class SearchPlan:
    """What decider and runners need to know of a job; nothing in it changes while it runs."""

    job: str
    seed: int
    metric: str  # "val_accuracy"
    mode: Literal["max", "min"]
    loss_metric: str  # "val_loss"
    rank_by: tuple[str, ...]  # of "metric", "loss"
    n_train: int
    n_val: int
    n_test: int
    epochs: int
    table: PassTable  # of the search
    rungs: tuple[Rung, ...]
    trials: int
    parallelism: int | None
    scheduler: str
    reduction_factor: float
    search: str
    startup_trials: int | None
    start_points: tuple[Mapping[str, Any], ...]
    space: Mapping[str, Any]  # domains in the job file's own form; spec.space compiles it
    fixed: Mapping[
        str, Any
    ]  # parameters that are not searched: settings and the template's defaults
    guards: tuple[Mapping[str, Any], ...]
    strategy: str
    fraction: float
    strategy_options: Mapping[str, Any] = field(default_factory=dict)
    select_every: int = 1
    encoder: str | None = None
    scope: Literal["job", "project", "shared"] = "project"  # who shares the model-free subsets
    finalists: int = 1
    confirm: bool = True
    resume: bool = True  # a confirmation goes on from the last rung; else it starts at 0
    finish: float = 0.2
    average: bool = False  # values in the search are those of averaged weights
    checkpoint_every: float = 0.05
    largest_batch: int = 1  # rows of the largest batch that a trial can have
    price_limit: float | None = None
    wall_clock_s: float | None = None
    goal: float | None = None
    no_improve_trials: int | None = None
    trial_retries: int = 2
    max_failed_trials: int = 10
    cpus: float = 1.0
    gpus: float = 0.0
    dataset_digest: str = ""  # of the rows it was planned for; "": any
    # trials are trained elsewhere, and a client that is silent for longer counts as lost
    client_timeout_s: float | None = None

    @property
    def total_rows(self) -> int:
        """Rows of one full training: the unit of share and price."""
        return self.table.total_rows

    @property
    def is_external(self) -> bool:
        """Whether clients train the trials, by ask and tell."""
        return self.client_timeout_s is not None

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus))

    def price(self, train_rows: float, forward_rows: float) -> float:
        return (train_rows + FORWARD_PRICE * forward_rows) / self.total_rows

    def eval_rows(self, rung: Rung) -> int:
        """Validation rows that a value at this rung really takes."""
        return min(rung.eval_rows or self.n_val, self.n_val)

    def ranks_by(self, rung: int) -> tuple[str, ...]:
        """What ranks trials at a rung, by its number."""
        own = self.rungs[rung].rank_by if rung < len(self.rungs) else None
        return self.rank_by if own is None else own

    def confirm_table(self, boundary: int) -> PassTable:
        """The passes of a confirmation that goes on from a search boundary: all rows, by epoch.

        An epoch longer than `checkpoint_every` of the training is walked in parts, so that
        checkpoints and values have a boundary to stand on; each part holds a batch at least, since
        batches are cut from it.
        """
        parts = math.ceil(self.n_train / (self.checkpoint_every * self.total_rows))
        slices = max(1, min(parts, self.n_train // self.largest_batch))
        rows = self.table.rows_at(boundary) if self.resume else 0
        return PassTable(self.total_rows, self.n_train, slices, boundary, rows)

    def confirm_values(self, table: PassTable) -> tuple[int, ...]:
        """Boundaries of a confirmation at which validation is evaluated."""
        steps = round((1 - CONFIRM_VALUES_FROM) / CONFIRM_VALUES_EVERY)
        shares = [CONFIRM_VALUES_FROM + i * CONFIRM_VALUES_EVERY for i in range(steps + 1)]
        found = {table.boundary_at(math.ceil(share * self.total_rows - 1e-6)) for share in shares}
        return tuple(sorted(b for b in found if b > table.first_pass))

    def checkpoints(self, table: PassTable, start: int, end: int) -> tuple[int, ...]:
        """Boundaries in (start, end] that stand on every `checkpoint_every` share."""
        steps = int(1 / self.checkpoint_every + 1e-9)
        rows = (round(i * self.checkpoint_every * self.total_rows) for i in range(1, steps + 1))
        found = {table.boundary_at(r) for r in rows if r > table.rows_at(start)}
        return tuple(sorted(b for b in found if start < b <= end))

    def to_json(self) -> dict[str, Any]:
        body = {f.name: getattr(self, f.name) for f in fields(self)}
        body["table"] = vars(self.table).copy()
        body["rungs"] = [vars(rung).copy() for rung in self.rungs]
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> SearchPlan:
        """Reads plans of older versions too: what they did not know has a default."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in body.items() if name in known}
        values["table"] = PassTable(**values["table"])
        values["rungs"] = tuple(_rung(rung) for rung in values["rungs"])
        for name in ("rank_by", "start_points", "guards"):
            values[name] = tuple(values[name])
        return cls(**values)


def _rung(body: Mapping[str, Any]) -> Rung:
    own = body.get("rank_by")
    return Rung(**{**body, "rank_by": None if own is None else tuple(own)})
