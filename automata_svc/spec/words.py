"""Pydantic's complaints in the words of somebody who wrote a job file."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from automata_svc.errors import Problem, nearest
from automata_svc.spec.base import show

# What to say of a key that is known elsewhere, or kept out on purpose; by the mapping it stands in.
_NO_POWER = (
    "cannot be kept: there is no power reading, so energy is unknown; use price or wall_clock"
)
_KEYS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "": {
            "status": "belongs to the server, which writes it; remove it",
            "name": "belongs into metadata",
        },
        "metadata": {"annotations": "not taken; labels are"},
        "spec": {
            "sinks": "not taken; trials, results and events are read over HTTP or exported",
            "labels": "belongs into metadata",
            "name": "belongs into metadata",
            "project": "belongs into metadata",
            "objectives": "one objective is taken: write objective: {metric, mode}",
            "seed": "belongs into search",
            "trials": "belongs into budget",
            "price": "belongs into budget",
            "dataset": "belongs into trial",
            "template": "belongs into trial",
            "settings": "belongs into trial",
            "resources": "belongs into trial",
            "start_points": "belongs into search",
        },
        "spec.budget": {
            "energy_kwh": _NO_POWER,
            "gpu_hours": "is not metered; use price or wall_clock",
        },
        "spec.subset": {"seed": "the job's seed is search.seed"},
    }
)

_EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "apiVersion": "automata/v1",
        "kind": "TuneJob",
        "metadata": "{name: letter-mlp}",
        "metadata.name": "letter-mlp",
        "spec": "a mapping with trial, space and budget",
        "spec.trial": "{template: tabular_mlp, dataset: letter}",
        "spec.trial.template": "tabular_mlp",
        "spec.trial.dataset": "letter",
        "spec.space": "{lr: {loguniform: [1e-4, 1e-1]}}",
        "spec.budget": "{trials: 27}",
        "spec.budget.trials": "27",
    }
)


def problems_of(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Each mistake once, in the order of the file's fields."""
    found: dict[Problem, None] = {}
    for one in error.errors(include_url=False):
        pointer = pointer_of(one["loc"])
        found[Problem(pointer, _said(one, pointer, root))] = None
    return list(found)


def pointer_of(loc: Sequence[str | int]) -> str:
    """("spec", "space", "lr", 0) → "spec.space.lr[0]"."""
    pointer = ""
    for part in loc:
        if isinstance(part, int):
            pointer += f"[{part}]"
        else:
            pointer += f".{part}" if pointer else part
    return pointer


def _said(one: ErrorDetails, pointer: str, root: type[BaseModel]) -> str:
    if one["type"] == "extra_forbidden":
        return _unknown_key(one["loc"], root)
    if one["type"] == "missing":
        example = _EXAMPLES.get(pointer)
        return f"is missing, e.g. {example}" if example else "is missing"
    say = _SAY.get(one["type"])
    return (
        say(one["input"], one.get("ctx", {})) if say else f"{one['msg']}; got {show(one['input'])}"
    )


def _unknown_key(loc: tuple[str | int, ...], root: type[BaseModel]) -> str:
    key = str(loc[-1])
    inside = pointer_of(loc[:-1])
    hint = _KEYS.get(inside, {}).get(key)
    if hint:
        return hint
    model = model_at(root, loc[:-1])
    known = list(model.model_fields) if model else []
    close = nearest(key, known)
    meant = f"; did you mean '{close}'?" if close else ";"
    return f"unknown key{meant} known: {', '.join(known)}"


def model_at(root: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that describes the mapping at `loc`, or None where there is none."""
    model: type[BaseModel] | None = root
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if model else None
        model = _model_in(field.annotation) if field else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    if get_origin(annotation) in (tuple, list, Union, types.UnionType):
        return next((m for m in map(_model_in, get_args(annotation)) if m), None)
    return None


# ---- sentences ----------------------------------------------------------------------------------

_Say = Callable[[Any, Mapping[str, Any]], str]


def _not_a(what: str) -> _Say:
    return lambda value, ctx: f"{show(value)} is not {what}"


def _not_text(value: Any, ctx: Mapping[str, Any]) -> str:
    if isinstance(value, bool | int | float):
        word = str(value).lower() if isinstance(value, bool) else str(value)
        return f'{word} is read as {_kind(value)}; write "{word}" if the text is meant'
    return f"{show(value)} is not a text"


def _kind(value: Any) -> str:
    return "true or false" if isinstance(value, bool) else "a number"


def _literal(value: Any, ctx: Mapping[str, Any]) -> str:
    words = [word.strip("'") for word in str(ctx["expected"]).replace(" or ", ", ").split(", ")]
    close = nearest(value, words) if isinstance(value, str) else None
    shown = f"'{value}'" if isinstance(value, str) else show(value)
    meant = f"did you mean '{close}'? " if close and len(words) > 1 else ""
    right = f"it takes {' or '.join([', '.join(words[:-1]), words[-1]] if words[1:] else words)}"
    return f"{shown} is not known; {meant}{right}"


def _pattern(value: Any, ctx: Mapping[str, Any]) -> str:
    return f"{show(value)} is not a name; use a-z, 0-9 and '-', with a letter or digit at both ends"


def _bound(word: str, key: str) -> _Say:
    def say(value: Any, ctx: Mapping[str, Any]) -> str:
        limit = ctx[key]
        is_whole = isinstance(limit, float) and limit.is_integer()
        return f"{show(value)} is not {word} {int(limit) if is_whole else limit:,}"

    return say


_SAY: Mapping[str, _Say] = MappingProxyType(
    {
        "said": lambda value, ctx: str(ctx["said"]),
        "literal_error": _literal,
        "string_type": _not_text,
        "string_pattern_mismatch": _pattern,
        "string_too_short": lambda value, ctx: "is empty",
        "string_too_long": lambda value, ctx: (
            f"{len(value)} characters; at most {ctx['max_length']} are taken"
        ),
        "bool_type": _not_a("true or false"),
        "dict_type": _not_a("a mapping"),
        "mapping_type": _not_a("a mapping"),
        "model_type": _not_a("a mapping"),
        "model_attributes_type": _not_a("a mapping"),
        "tuple_type": _not_a("a list"),
        "list_type": _not_a("a list"),
        "greater_than": _bound("above", "gt"),
        "greater_than_equal": _bound("at least", "ge"),
        "less_than": _bound("below", "lt"),
        "less_than_equal": _bound("at most", "le"),
    }
)
