"""A search space: domains by parameter name, which of them exist when, and in what order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from automata_svc.errors import Problem, SpecError, nearest
from automata_svc.spec.base import Mistakes, show
from automata_svc.spec.domain import Domain, read_domain, same

__all__ = ["Domain", "Space", "compile_space", "read_domain", "read_space"]

MAX_PARAMETERS = 1_000  # guess
MAX_GRID = 100_000  # guess: more configurations than that are never listed one by one


@dataclass(frozen=True)
class Space:
    """Made by `compile_space`; its conditions have no cycle."""

    domains: Mapping[str, Domain]
    order: tuple[str, ...]  # parents before the parameters that depend on them, else by name

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters, sorted."""
        return tuple(sorted(self.domains))

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether a parameter exists beside the values chosen for its parents."""
        return all(
            parent in params and any(same(params[parent], value) for value in values)
            for parent, values in self.domains[name].when.items()
        )

    def active(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The parameters that exist beside these values, in `order`.

        A parent that does not exist itself switches its children off, whatever `params` says.
        """
        found: dict[str, Any] = {}
        for name in self.order:
            if self.is_active(name, found):
                found[name] = params.get(name)
        return tuple(found)

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Whether these are exactly the active parameters, each inside its domain."""
        active = self.active(params)
        return set(active) == set(params) and all(
            self.domains[name].contains(params[name]) for name in active
        )

    @property
    def is_finite(self) -> bool:
        return all(domain.is_finite for domain in self.domains.values())

    @property
    def grid_size(self) -> int | None:
        """Configurations in all; None where a domain is continuous. Nothing is listed for it."""
        if not self.is_finite:
            return None
        parents = {parent for domain in self.domains.values() for parent in domain.when}
        mentioned = {
            parent: [v for d in self.domains.values() for v in d.when.get(parent, ())]
            for parent in parents
        }
        return self._count(0, {}, mentioned)

    def grid(self) -> list[dict[str, Any]]:
        """Every configuration once, the last of `order` varying fastest.

        Raises:
            SpecError: a domain is continuous, or there are more than MAX_GRID.
        """
        size = self.grid_size
        if size is None or size > MAX_GRID:
            why = "a domain is continuous" if size is None else f"it has {size:,} configurations"
            raise SpecError(
                Problem("spec.space", f"cannot be listed: {why}; at most {MAX_GRID:,} can")
            )
        found: list[dict[str, Any]] = [{}]
        for name in self.order:
            values = self.domains[name].values
            found = [
                {**params, name: value} if is_active else params
                for params in found
                for is_active in (self.is_active(name, params),)
                for value in (values if is_active else (None,))
            ]
        return found

    def _count(self, at: int, params: dict[str, Any], mentioned: Mapping[str, list[Any]]) -> int:
        """Configurations of order[at:]. Only values that a condition mentions are told apart."""
        factor = 1
        for index in range(at, len(self.order)):
            name = self.order[index]
            if not self.is_active(name, params):
                continue
            domain = self.domains[name]
            if name not in mentioned:
                factor *= domain.size
                continue
            special = [
                value
                for i, value in enumerate(mentioned[name])
                if not any(same(value, other) for other in mentioned[name][:i])
            ]
            total = sum(self._count(index + 1, {**params, name: v}, mentioned) for v in special)
            rest = domain.size - len(special)
            if rest:
                other = object()  # equal to no value
                total += rest * self._count(index + 1, {**params, name: other}, mentioned)
            return factor * total
        return factor


def read_space(value: Any) -> dict[str, Domain]:
    """The domains of a `space:` mapping, conditions checked against each other.

    Raises:
        pydantic.ValidationError: with every mistake, located below `value`.
    """
    mistakes = Mistakes()
    if not isinstance(value, Mapping):
        mistakes.add((), f"{show(value)} is not a mapping of parameters to domains", value)
        mistakes.raise_any()
    if not value:
        mistakes.add(
            (), "is empty; name at least one parameter, e.g. lr: {loguniform: [1e-4, 0.1]}"
        )
    if len(value) > MAX_PARAMETERS:
        mistakes.add((), f"has {len(value):,} parameters; at most {MAX_PARAMETERS:,} are taken")
        mistakes.raise_any()
    domains: dict[str, Domain] = {}
    for name, item in value.items():
        if not isinstance(name, str) or not name.isidentifier():
            message = f"{show(name)} is not a name; a parameter is named like a Python variable"
            mistakes.add((str(name),), message, name)
            continue
        try:
            domains[name] = read_domain(item)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                mistakes.add((name, *one["loc"]), str(one["msg"]), one["input"])
    _check_conditions(value, domains, mistakes)
    mistakes.raise_any()
    return domains


def compile_space(space: Mapping[str, Any]) -> Space:
    """A space from the job file's form, or from domains that are read already.

    Raises:
        SpecError: with every mistake, its pointer starting with spec.space.
    """
    try:
        domains = read_space(space)
    except ValidationError as error:
        raise SpecError(
            [
                Problem(".".join(["spec.space", *map(str, one["loc"])]), str(one["msg"]))
                for one in error.errors(include_url=False)
            ]
        ) from None
    return Space(domains, _order(domains))


def _check_conditions(
    written: Mapping[Any, Any], domains: Mapping[str, Domain], mistakes: Mistakes
) -> None:
    for name, domain in domains.items():
        for parent, values in domain.when.items():
            at = (name, "when", parent)
            if parent == name:
                mistakes.add(at, "a parameter cannot depend on itself")
            elif parent not in written:
                hint = nearest(parent, map(str, written))
                meant = f"; did you mean '{hint}'?" if hint else ";"
                names = ", ".join(sorted(map(str, written)))
                mistakes.add(at, f"no such parameter in the space{meant} it has: {names}")
            elif parent in domains:
                if not domains[parent].is_finite:
                    message = f"'{parent}' is continuous; a condition needs listed values"
                    mistakes.add(at, message)
                    continue
                for value in values:
                    if not domains[parent].contains(value):
                        mistakes.add(at, f"'{parent}' can never be {show(value)}", value)
    for cycle in _cycles(domains):
        mistakes.add((cycle[0], "when"), f"depends on itself: {' → '.join((*cycle, cycle[0]))}")


def _cycles(domains: Mapping[str, Domain]) -> list[tuple[str, ...]]:
    """Each cycle of conditions once, starting at its first name (self-loops are said elsewhere)."""
    done: set[str] = set()
    found: list[tuple[str, ...]] = []
    for start in sorted(domains):
        stack: list[tuple[str, list[str]]] = [(start, _parents(domains, start))]
        path = [start]
        while stack and path:
            name, left = stack[-1]
            if name in done or not left:
                done.add(name)
                stack.pop()
                path.pop()
                continue
            parent = left.pop()
            if parent in path:
                cycle = path[path.index(parent) :]
                least = cycle.index(min(cycle))
                found.append(tuple(cycle[least:] + cycle[:least]))
            elif parent not in done:
                stack.append((parent, _parents(domains, parent)))
                path.append(parent)
    return sorted(set(found))


def _parents(domains: Mapping[str, Domain], name: str) -> list[str]:
    return sorted((p for p in domains[name].when if p in domains and p != name), reverse=True)


def _order(domains: Mapping[str, Domain]) -> tuple[str, ...]:
    order: dict[str, None] = {}
    waiting = sorted(domains)
    while waiting:  # no cycle, so each round places at least one
        ready = next(n for n in waiting if all(p in order for p in domains[n].when))
        order[ready] = None
        waiting.remove(ready)
    return tuple(order)
