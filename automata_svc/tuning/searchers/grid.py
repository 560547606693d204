"""Every combination of listed values once, in a seeded order: a cut grid is a fair sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automata_svc.selection.types import keyed_rng
from automata_svc.spec.space import compile_space
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.searchers.base import Proposal, Searcher
from automata_svc.tuning.state import JobState


class Grid:
    """The plan has made sure that every domain is finite and that `trials` is at most its size."""

    def __init__(self, plan: SearchPlan) -> None:
        combinations = compile_space(plan.space).grid()
        starts = [dict(point) for point in plan.start_points]
        first = [c for c in combinations if any(_agrees(c, point) for point in starts)]
        rest = [c for c in combinations if c not in first]
        order = keyed_rng(plan.seed, "grid").permutation(len(rest))
        self._combinations = first + [rest[i] for i in order]
        self._first = len(first)

    def propose(self, state: JobState, number: int) -> Proposal:
        origin = "start point" if number < self._first else "grid"
        return Proposal(dict(self._combinations[number]), origin)


def _agrees(combination: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    return all(combination.get(name) == value for name, value in point.items())


class GridKind:
    sequential = False

    def start(self, plan: SearchPlan) -> Searcher:
        return Grid(plan)


GRID = GridKind()
