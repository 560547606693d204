"""A template's parameters: a frozen class of typed values with defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform

from automata_svc.errors import Problem, SpecError, unknown


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class TrialParams:
    """Base of every template's `class Params(TrialParams)`.

    Fields are annotated `int`, `float`, `str` or `bool` and have a literal default; instances are
    frozen. `epochs` is read by the service (a full training is epochs × N rows), `batch_size` by
    the loader (32 where it is not declared).
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)


P = TypeVar("P", bound=TrialParams)

KINDS: Mapping[str, type] = MappingProxyType({"int": int, "float": float, "str": str, "bool": bool})


def fill(cls: type[P], values: Mapping[str, Any]) -> P:
    """An instance of a template's Params with `values` over its defaults.

    Raises:
        SpecError: a name the template does not declare, or a value not of the declared type.
    """
    # Annotations are classes, or text where the template postpones them, or text about text.
    declared = {f.name: getattr(f.type, "__name__", str(f.type)).strip("'\"") for f in fields(cls)}
    problems, checked = [], {}
    for name, value in values.items():
        if name not in declared:
            problems.append(Problem(f"params.{name}", unknown("parameter", name, declared)))
            continue
        try:
            checked[name] = coerce(value, declared[name])
        except ValueError as error:
            problems.append(Problem(f"params.{name}", str(error)))
    if problems:
        raise SpecError(problems)
    return cls(**checked)


def coerce(value: Any, kind: str) -> Any:
    """`value` as the declared type: an int may stand for a float, 64.0 for an int, nothing else.

    Raises:
        ValueError: it is of another type.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "float" and is_number:
        return float(value)
    if kind == "int" and is_number and int(value) == value:
        return int(value)
    if kind in ("str", "bool") and isinstance(value, KINDS[kind]):
        return value
    raise ValueError(f"{value!r} is not of type {kind}")
