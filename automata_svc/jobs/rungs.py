"""From shares that were asked for to pass boundaries that can be reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from automata_svc.trials.types import PassTable
from automata_svc.tuning.plan import Rung

BATCHES_PER_SUBSET = 4  # a subset has at least four of the space's largest batches
BATCHES_PER_PASS = 8  # guess: then the short last batch costs few extra steps
OVERSHOOT = 0.02  # guess: a first rung this much above what was asked is near enough
MIN_STEPS = 50  # measured: fewer optimizer steps rank nothing (an untrained model)


@dataclass(frozen=True)
class Asked:
    """A rung as a recipe or a user wrote it."""

    share: float
    keep: int | None
    eval_rows: int | None = None
    rank_by: tuple[str, ...] | None = None  # None: as the job says


def ask(
    shares: Sequence[float],
    keep: Sequence[int | None],
    eval_rows: Sequence[int | None],
    rank_by: tuple[str, ...],
) -> list[Asked]:
    """Rungs as they are asked for; one whose values are taken on some rows ranks by the loss alone.

    So early, and on so few rows, an accuracy says little: on connect4, whose classes are uneven,
    the best 6 of 27 at .2 % of a training miss in 26 % of jobs by the better of two ranks, in 1 %
    by the loss.
    """
    few = ("loss",) if "loss" in rank_by else None
    return [
        Asked(share, count, rows, None if rows is None else few)
        for share, count, rows in zip(shares, keep, eval_rows, strict=True)
    ]


def subset_rows(fraction: float, n_train: int, largest_batch: int) -> int:
    """Rows of a subset: the fraction, but at least four of the largest batches, at most all."""
    return min(n_train, max(round(fraction * n_train), BATCHES_PER_SUBSET * largest_batch, 1))


def pass_table(total_rows: int, rows: int, first_share: float, largest_batch: int) -> PassTable:
    """Slices of a subset such that the first rung is reached without going far past it.

    A subset larger than the first rung must be sliced, down to one largest batch a pass; a smaller
    one is where its whole passes would overshoot, as long as a pass keeps a few batches (its last
    one is short).
    """
    first = max(1, int(first_share * total_rows + 1e-6))
    best = PassTable(total_rows, rows, 1)
    for slices in range(1, max(1, rows // max(1, largest_batch)) + 1):
        must = slices == 1 or rows / (slices - 1) > first
        if not must and rows / slices < BATCHES_PER_PASS * largest_batch:
            break
        table = PassTable(total_rows, rows, slices)
        landed = table.rows_at(table.boundary_at(first))
        if landed < best.rows_at(best.boundary_at(first)):
            best = table
        if landed <= first * (1 + OVERSHOOT):
            return table
    return best


def land(asked: Sequence[Asked], table: PassTable) -> tuple[Rung, ...]:
    """Rungs rounded up to whole passes; those that then coincide are one, with the later's keep."""
    landed: dict[int, Rung] = {}
    for rung in asked:
        boundary = table.boundary_at(max(1, int(rung.share * table.total_rows + 1e-6)))
        landed[boundary] = Rung(
            asked=rung.share,
            boundary=boundary,
            rows=table.rows_at(boundary),
            share=table.share_at(boundary),
            keep=rung.keep,
            eval_rows=rung.eval_rows or 0,
            rank_by=rung.rank_by,
        )
    return tuple(landed[b] for b in sorted(landed))


def steps_at(rung: Rung, table: PassTable, batch: int) -> int:
    """Optimizer steps a trial with this batch size has made at a rung."""
    return sum(
        math.ceil((table.rows_at(p + 1) - table.rows_at(p)) / batch) for p in range(rung.boundary)
    )
