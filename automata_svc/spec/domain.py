"""One parameter's domain: read from the job file's form, and what follows from it.

    uniform: [lo, hi]        any number in it
    loguniform: [lo, hi]     its logarithm is uniform; lo > 0
    randint: [lo, hi]        whole numbers, both ends included (as in Optuna; Ray leaves hi out)
    quniform: [lo, hi, q]    lo, lo + q, lo + 2q, … up to hi
    choice: [a, b, …]        one of these; a list alone means the same, a scalar alone is a constant

Each with an optional `when: {parent: [values]}`: the parameter exists only where all of it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from pydantic_core import PydanticCustomError

from automata_svc.errors import nearest
from automata_svc.spec.base import Mistakes, Scalar, as_float, as_int, as_scalar, show

Kind = Literal["uniform", "loguniform", "randint", "quniform", "choice"]

MAX_VALUES = 10_000  # guess: a longer list is a program's output, not somebody's space


@dataclass(frozen=True)
class Domain:
    """What one parameter may be. Made by `read_domain`, which checks it."""

    kind: Kind
    low: float = 0.0  # choice: 0, as high and step are where they mean nothing
    high: float = 0.0  # included, in every kind
    step: float = 0.0  # quniform: q
    choices: tuple[Scalar, ...] = ()
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)  # parent → its values

    @property
    def is_finite(self) -> bool:
        """Whether its values can be listed."""
        return self.kind not in ("uniform", "loguniform")

    @cached_property
    def values(self) -> Sequence[Any]:
        """All values of a finite domain in order; () for a continuous one. Lazy for randint."""
        if self.kind == "randint":
            return range(int(self.low), int(self.high) + 1)
        if self.kind == "quniform":
            # Decimal, so that 0.1 + 2 × 0.1 is the 0.3 somebody would write.
            low, step = Decimal(repr(self.low)), Decimal(repr(self.step))
            return tuple(float(low + i * step) for i in range(self.size))
        return self.choices

    @cached_property
    def size(self) -> int:
        """How many values a finite domain has; 0 for a continuous one."""
        if self.kind == "randint":
            return int(self.high) - int(self.low) + 1
        if self.kind == "quniform":
            return _steps(self.low, self.high, self.step) + 1
        return len(self.choices)

    @property
    def smallest(self) -> Any:
        """The least value.

        Raises:
            TypeError: a choice among values that have no order.
        """
        return min(self.choices) if self.kind == "choice" else self.low

    @property
    def largest(self) -> Any:
        """The greatest value; raises as `smallest` does."""
        if self.kind == "choice":
            return max(self.choices)
        return self.values[-1] if self.kind == "quniform" else self.high

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the domain's. 64.0 stands for 64; True does not stand for 1."""
        if self.kind == "choice":
            return any(same(value, choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high:  # refuses NaN, too
            return False
        if self.kind == "randint":
            return float(value).is_integer()
        if self.kind == "quniform":
            steps = (value - self.low) / self.step
            return abs(steps - round(steps)) <= 1e-6 and round(steps) < self.size
        return True

    def to_json(self) -> dict[str, Any]:
        """The job file's form; `read_domain` gives the same domain back."""
        body: dict[str, Any] = {self.kind: _WRITE[self.kind](self)}
        if self.when:
            body["when"] = {name: list(values) for name, values in self.when.items()}
        return body


def same(a: Any, b: Any) -> bool:
    """Equality that keeps booleans apart from numbers."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def read_domain(value: Any) -> Domain:
    """A domain from what stands in the job file.

    Raises:
        pydantic.ValidationError: with every mistake, located below `value`.
    """
    if isinstance(value, Domain):
        return value
    if not isinstance(value, Mapping):
        value = {"choice": value if isinstance(value, list | tuple) else [value]}
    mistakes = Mistakes()
    when = _read_when(value.get("when"), mistakes)
    kinds = [key for key in value if key in _READ]
    for key in value:
        if key not in _READ and key != "when":
            hint = nearest(str(key), _READ)
            meant = f"; did you mean '{hint}'?" if hint else ";"
            mistakes.add((str(key),), f"no such domain{meant} known: {', '.join(_READ)}", value)
    if len(kinds) > 1:
        mistakes.add((), f"names {' and '.join(kinds)}; one parameter has one domain", value)
    elif not kinds and not mistakes:
        mistakes.add((), f"names no domain; it takes one of: {', '.join(_READ)}", value)
    elif len(kinds) == 1:
        kind = kinds[0]
        try:
            domain = _READ[kind](value[kind])
        except PydanticCustomError as error:
            mistakes.add((kind,), error.message(), value[kind])
        else:
            mistakes.raise_any()
            return Domain(**domain, when=when)
    mistakes.raise_any()
    raise AssertionError("unreachable: a mistake was added on every other path")


# ---- the kinds ----------------------------------------------------------------------------------


def _fail(message: str) -> PydanticCustomError:
    return PydanticCustomError("said", "{said}", {"said": message})


def _numbers(
    value: Any, count: int, form: str, convert: Callable[[Any], Any] = as_float
) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) != count:
        raise _fail(f"{show(value)} is not of the form {form}")
    numbers = [convert(item) for item in value]
    if not numbers[0] < numbers[1]:
        raise _fail(
            f"the lower end {show(value[0])} must be below the upper end {show(value[1])}; for one "
            "value write it alone"
        )
    return numbers


def _uniform(value: Any) -> dict[str, Any]:
    low, high = _numbers(value, 2, "[lo, hi]")
    if not math.isfinite(high - low):
        raise _fail(f"the range from {low:g} to {high:g} is too wide for a float")
    return {"kind": "uniform", "low": low, "high": high}


def _loguniform(value: Any) -> dict[str, Any]:
    low, high = _numbers(value, 2, "[lo, hi]")
    if low <= 0:
        raise _fail(f"the lower end {low:g} must be above 0, since its logarithm is taken")
    return {"kind": "loguniform", "low": low, "high": high}


def _randint(value: Any) -> dict[str, Any]:
    low, high = _numbers(value, 2, "[lo, hi] of whole numbers, both included", as_int)
    if max(abs(low), abs(high)) > 2**53:
        raise _fail("whole numbers beyond 2^53 are not exact")
    return {"kind": "randint", "low": low, "high": high}


def _quniform(value: Any) -> dict[str, Any]:
    low, high, step = _numbers(value, 3, "[lo, hi, q]")
    if step <= 0:
        raise _fail(f"the step {step:g} must be above 0")
    if (high - low) / step >= MAX_VALUES:
        raise _fail(f"a step of {step:g} makes more than {MAX_VALUES:,} values; use uniform")
    if _steps(low, high, step) < 1:
        raise _fail(f"the step {step:g} is larger than the range from {low:g} to {high:g}")
    return {"kind": "quniform", "low": low, "high": high, "step": step}


def _choice(value: Any) -> dict[str, Any]:
    if not isinstance(value, list | tuple):
        raise _fail(f"{show(value)} is not a list of values")
    if not value:
        raise _fail("the list is empty; give at least one value")
    if len(value) > MAX_VALUES:
        raise _fail(f"{len(value):,} values; at most {MAX_VALUES:,} are taken")
    choices = tuple(as_scalar(item) for item in value)
    twice = _first_twice(choices)
    if twice is not None:
        raise _fail(f"{show(twice)} is listed twice")
    return {"kind": "choice", "choices": choices}


def _first_twice(values: Sequence[Scalar]) -> Scalar | None:
    seen: set[tuple[bool, Scalar]] = set()
    for value in values:
        key = (isinstance(value, bool), value)
        if key in seen:
            return value
        seen.add(key)
    return None


def _steps(low: float, high: float, step: float) -> int:
    """Whole steps from low that stay at or below high."""
    exact = (Decimal(repr(high)) - Decimal(repr(low))) / Decimal(repr(step))
    return int(exact)


def _read_when(value: Any, mistakes: Mistakes) -> dict[str, tuple[Scalar, ...]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not value:
        mistakes.add("when", f"{show(value)} is not of the form {{parameter: [values]}}", value)
        return {}
    when: dict[str, tuple[Scalar, ...]] = {}
    for name, values in value.items():
        values = values if isinstance(values, list | tuple) else [values]
        try:
            when[str(name)] = _choice(values)["choices"]
        except PydanticCustomError as error:
            mistakes.add(("when", str(name)), error.message(), values)
    return when


_READ: Mapping[str, Callable[[Any], dict[str, Any]]] = MappingProxyType(
    {
        "uniform": _uniform,
        "loguniform": _loguniform,
        "randint": _randint,
        "quniform": _quniform,
        "choice": _choice,
    }
)
_WRITE: Mapping[str, Callable[[Domain], list[Any]]] = MappingProxyType(
    {
        "uniform": lambda domain: [domain.low, domain.high],
        "loguniform": lambda domain: [domain.low, domain.high],
        "randint": lambda domain: [int(domain.low), int(domain.high)],
        "quniform": lambda domain: [domain.low, domain.high, domain.step],
        "choice": lambda domain: list(domain.choices),
    }
)
