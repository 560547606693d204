"""From numbers in [0, 1) to configurations: shared by the searchers that draw without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from automata_svc.spec.domain import Domain
from automata_svc.spec.space import Space, compile_space
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.searchers.base import Proposal


class Points:
    """A plan's space and start points; how a point of the unit cube becomes a configuration."""

    def __init__(self, plan: SearchPlan) -> None:
        self.space: Space = compile_space(plan.space)
        self._starts = plan.start_points

    def propose(self, number: int, unit: Callable[[str], float], origin: str) -> Proposal:
        """Start point `number` if there is one (what it leaves open is drawn), else a draw."""
        given: Mapping[str, Any] = self._starts[number] if number < len(self._starts) else {}
        params: dict[str, Any] = {}
        for name in self.space.order:  # parents first
            domain = self.space.domains[name]
            if self.space.is_active(name, params):
                params[name] = given[name] if name in given else at(domain, unit(name))
        return Proposal(params, "start point" if given else origin)


def at(domain: Domain, unit: float) -> Any:
    """The value of a domain at a number in [0, 1)."""
    return _AT[domain.kind](domain, unit)


def _uniform(domain: Domain, unit: float) -> float:
    return domain.low + unit * (domain.high - domain.low)


def _loguniform(domain: Domain, unit: float) -> float:
    low, high = math.log(domain.low), math.log(domain.high)
    return min(domain.high, max(domain.low, math.exp(low + unit * (high - low))))


def _randint(domain: Domain, unit: float) -> int:
    return int(domain.low) + int(unit * domain.size)


def _quniform(domain: Domain, unit: float) -> float:
    return domain.values[int(unit * domain.size)]  # type: ignore[no-any-return]


def _choice(domain: Domain, unit: float) -> Any:
    return domain.values[int(unit * domain.size)]


_AT: Mapping[str, Callable[[Domain, float], Any]] = {
    "uniform": _uniform,
    "loguniform": _loguniform,
    "randint": _randint,
    "quniform": _quniform,
    "choice": _choice,
}
