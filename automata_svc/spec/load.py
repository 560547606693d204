"""A job file's text to a TuneJob, with the command line's overrides; and back to text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from automata_svc.errors import Problem, SpecError
from automata_svc.spec.decode import FLOAT, HEX_OR_OCTAL, decode
from automata_svc.spec.job import TuneJob, dataset_in_full
from automata_svc.spec.words import problems_of

# A text that may stand for a mapping, written out where an override goes on below it.
_SHORT: Mapping[str, Callable[[str], dict[str, Any]]] = MappingProxyType(
    {"spec.trial.dataset": dataset_in_full}
)
_TOP = ("apiVersion", "kind", "metadata", "spec")  # an override starting so is a full path


def parse_job(text: str | bytes, source: str = "", overrides: Sequence[str] = ()) -> TuneJob:
    """Reads and checks a job file.

    Args:
        text: YAML or JSON.
        source: the file's name, for messages.
        overrides: "budget.trials=9": a path below spec, or a full one ("metadata.name=x"), and a
            YAML value; applied in order, before anything is checked.

    Raises:
        SpecError: every mistake in one, each with a pointer such as spec.space.lr.loguniform.
    """
    data = decode(text, source)
    if data is None:
        raise SpecError(Problem("", "is empty; a job starts with apiVersion: automata/v1"), source)
    if not isinstance(data, dict):
        raise SpecError(Problem("", f"{_kind(data)}, not a mapping of keys to values"), source)
    problems: list[Problem] = []
    written: dict[str, str] = {}  # pointer → the override that wrote there
    for override in overrides:
        problem = _override(data, override, written)
        if problem is not None:
            problems.append(problem)
    try:
        job = TuneJob.model_validate(data)
    except ValidationError as error:
        problems.extend(_attributed(one, written) for one in problems_of(error, TuneJob))
    if problems:
        raise SpecError(problems, source)
    return job


def dump_job(job: TuneJob, form: Literal["yaml", "json"] = "yaml", defaults: bool = True) -> str:
    """The job as canonical text, which `parse_job` reads back as the same job.

    Args:
        form: YAML for people, JSON for programs.
        defaults: write every field out; else only what was given.
    """
    data = job.model_dump(mode="json", exclude_unset=not defaults)
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML 1.2 reads as numbers, besides those that YAML 1.1 does."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Only double quotes have escapes; in the other styles a reader folds U+0085 and its like.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", HEX_OR_OCTAL, ["0"])


# ---- overrides ----------------------------------------------------------------------------------


def _override(data: dict[str, Any], override: str, written: dict[str, str]) -> Problem | None:
    """Writes one override into the data, or says why it cannot be."""
    parts = override.partition("=")[0].strip().split(".")
    found = assign(data, override, parts if parts[0] in _TOP else ["spec", *parts], "--set ")
    if isinstance(found, Problem):
        return found
    written[found] = override
    return None


def assign(
    data: dict[str, Any], text: str, parts: Sequence[str], option: str = ""
) -> str | Problem:
    """Writes "path=value" into nested data; returns the pointer to it, or what is wrong.

    Args:
        parts: the path, below which missing mappings are made.
        option: how the text was given, for messages.
    """
    said, (_, equals, value_text) = f"{option}{text}", text.partition("=")
    if not equals or not all(parts):
        return Problem("", f"{said}: not of the form path=value, e.g. budget.trials=9")
    try:
        value = decode(value_text)
    except SpecError as error:
        why = "; ".join(one.message for one in error.problems)
        return Problem("", f"{said}: the value is {why}")
    place: Any = data
    pointer = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if isinstance(place, dict):
            pointer = f"{pointer}.{part}" if pointer else part
            if last:
                place[part] = value
            else:
                if place.get(part) is None:
                    place[part] = {}
                elif isinstance(place[part], str) and pointer in _SHORT:
                    place[part] = _SHORT[pointer](place[part])
                place = place[part]
        elif isinstance(place, list):
            if not part.isdecimal() or int(part) >= len(place):
                why = f"{pointer} is a list of {len(place)}; '{part}' is not a place in it"
                return Problem("", f"{said}: {why}")
            pointer = f"{pointer}[{int(part)}]"
            if last:
                place[int(part)] = value
            else:
                place = place[int(part)]
        else:
            why = f"{pointer} is {_kind(place)} and has no '{part}'; set {pointer} as a whole"
            return Problem("", f"{said}: {why}")
    return pointer


def _attributed(problem: Problem, written: dict[str, str]) -> Problem:
    """Says which override a mistake comes from, where one wrote it."""
    for pointer, override in written.items():
        at = problem.pointer
        if at == pointer or at.startswith((f"{pointer}.", f"{pointer}[")):
            return Problem(at, f"{problem.message} (from --set {override})")
    # An unknown key on the way: "--set budgt.trials=3" is wrong at spec.budgt.
    for pointer, override in written.items():
        if problem.pointer and pointer.startswith((f"{problem.pointer}.", f"{problem.pointer}[")):
            if "unknown key" in problem.message:
                return Problem(problem.pointer, f"{problem.message} (from --set {override})")
    return problem


def _kind(value: Any) -> str:
    if isinstance(value, str):
        short = value if len(value) <= 40 else value[:37] + "…"
        return f"the text '{short.splitlines()[0] if short else ''}'"
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"
