"""Metrics of one trial over its share, thinned out to as many points as somebody can look at."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from automata_svc.tuning import events as ev
from automata_svc.tuning.plan import SearchPlan

INSIDE = ("loss", "grad_norm")  # of every pass: the median over its steps


@dataclass(frozen=True)
class Curve:
    """Equally long: where, and what; `points` is how many there were before thinning."""

    share: tuple[float, ...]
    value: tuple[float, ...]
    points: int


def curves(
    plan: SearchPlan,
    events: Iterable[ev.Event],
    names: Collection[str] | None = None,
    max_points: int = 1_000,
) -> dict[str, Curve]:
    """Every metric that a trial reported, by name.

    Args:
        events: of one trial, in order; those of others are passed over by nobody here.
        names: only these; None: all. Names that were never reported are not in the answer.
        max_points: ≥ 3.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}

    def add(name: str, share: float, value: float | None) -> None:
        if value is None or not math.isfinite(value) or (names is not None and name not in names):
            return
        shares, values = found.setdefault(name, ([], []))
        shares.append(share)
        values.append(value)

    table, phase, reached, last = plan.table, "search", 0, -1
    for event in events:
        if isinstance(event, ev.SegmentStarted):
            if event.phase == "confirm" and phase == "search":
                table = plan.confirm_table(reached)
            phase = event.phase
        elif isinstance(event, ev.Passes) and phase != "test":
            reached = event.boundary
            for stats in event.passes:
                if stats.number <= last:  # a retry went over known ground
                    continue
                last = stats.number
                share = table.share_at(stats.number + 1)
                add("loss", share, stats.loss.median if stats.loss else None)
                add("grad_norm", share, stats.grad_norm.median if stats.grad_norm else None)
            if event.valued:
                for name, value in event.values.items():
                    add(name, table.share_at(event.boundary), value)
    return {
        name: Curve(*thin(shares, values, max_points), len(shares))
        for name, (shares, values) in sorted(found.items())
    }


def thin(
    x: Sequence[float], y: Sequence[float], size: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most `size` of the points, chosen so that the line keeps its peaks.

    Largest-triangle-three-buckets (Steinarsson 2013): the first and the last point stay, the others
    fall into size − 2 buckets, and of each the point is kept that makes the largest triangle with
    the point kept before it and the mean of the next bucket.

    Args:
        x, y: finite, equally long; x in order.
        size: ≥ 3.
    """
    n = len(x)
    if n <= size:
        return tuple(x), tuple(y)
    kept = [0]
    edges = [1 + (n - 2) * i // (size - 2) for i in range(size - 1)]
    for bucket in range(size - 2):
        start, end = edges[bucket], edges[bucket + 1]
        after = edges[bucket + 2] if bucket + 2 < len(edges) else n
        mean_x = math.fsum(x[end:after]) / (after - end)
        mean_y = math.fsum(y[end:after]) / (after - end)
        x0, y0 = x[kept[-1]], y[kept[-1]]
        kept.append(
            max(
                range(start, end),
                key=lambda i: abs((x0 - mean_x) * (y[i] - y0) - (x0 - x[i]) * (mean_y - y0)),
            )
        )
    kept.append(n - 1)
    return tuple(x[i] for i in kept), tuple(y[i] for i in kept)
