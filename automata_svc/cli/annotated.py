"""A job file with every default written out, and beside each value why it is what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from automata_svc.errors import SpecError
from automata_svc.jobs.protocol import Chosen
from automata_svc.results.figures import wrapped

INDENT = "  "
NOTE_AT = 44  # columns: where the reasons start, unless a line is longer


def annotated(job: Mapping[str, Any], chosen: Mapping[str, Chosen], width: int = 100) -> list[str]:
    """YAML lines that load to `job`; a value that was chosen carries its reason as a comment."""
    lines: list[str] = []
    for text, pointer in _lines(job, "", 0):
        note = chosen[pointer].reason if pointer in chosen else ""
        if not note:
            lines.append(text)
            continue
        start = max(NOTE_AT, len(text) + 2)
        room = max(24, width - start - 2)
        first, *rest = wrapped(note, room, indent="")
        lines.append(f"{text.ljust(start)}# {first}")
        lines += [" " * start + f"# {part}" for part in rest]
    return lines


def _lines(value: Mapping[str, Any], at: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        pointer = f"{at}.{key}" if at else str(key)
        head = f"{INDENT * depth}{_scalar(str(key))}:"
        if isinstance(item, Mapping) and item and not _is_small(item):
            yield head, pointer
            yield from _lines(item, pointer, depth + 1)
        elif isinstance(item, Sequence) and not isinstance(item, str) and not _is_small(item):
            yield head, pointer
            for one in item:
                yield f"{INDENT * (depth + 1)}- {_flow(one)}", ""
        else:
            yield f"{head} {_flow(item)}", pointer


def _is_small(value: Any) -> bool:
    """Fits on a line and holds no mappings below its own keys."""
    if isinstance(value, Mapping):
        inner = [item for item in value.values() if isinstance(item, Mapping)]
        return not inner and set(value) <= _INLINE and len(_flow(value)) <= 60
    return not any(isinstance(item, Mapping) for item in value) and len(_flow(value)) <= 60


# Domains of a space, and the finish: written as people write them, in one line.
_INLINE = {
    "uniform", "loguniform", "randint", "quniform", "choice", "when", "decay", "name", "path",
    "target", "test", "val", "cpu", "gpu",
}  # fmt: skip


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(k))}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _number(value) if isinstance(value, float) else json.dumps(value)


def _number(value: float) -> str:
    text = repr(value)
    # PyYAML reads 1e-05 as text: a float needs a point.
    return text if "e" not in text or "." in text else text.replace("e", ".0e")


def _scalar(text: str) -> str:
    """The text, quoted only where YAML (1.1, or 1.2 as we decode it) sees something else."""
    import yaml

    from automata_svc.spec.decode import decode

    try:
        plain = yaml.safe_load(f"[{text}]") == decode(f"[{text}]") == [text]
    except (yaml.YAMLError, SpecError, ValueError):
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
