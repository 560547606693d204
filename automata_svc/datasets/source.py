"""What a job says about its data: a name from the table, or files of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from automata_svc.errors import Problem, SpecError, nearest


@dataclass(frozen=True)
class Source:
    """A named set, or a file by path. What cannot be combined is said by `check`."""

    name: str | None = None  # a row of SOURCES
    path: str | None = None  # .npz, .csv, .jsonl (the last two also with .gz)
    target: str | None = None  # csv: the column to predict; jsonl: the label's field ("label")
    test: str | None = None  # file with the test rows, of the same kind as `path`
    val: str | None = None  # file with the validation rows

    @classmethod
    def of(cls, spec: object) -> Source:
        """A Source from a mapping or from any object with these attributes.

        Raises:
            SpecError: an unknown key, a value that is no text, or fields that do not go together.
        """
        known = [one.name for one in fields(cls)]
        problems: list[Problem] = []
        if isinstance(spec, str):
            values: dict[str, Any] = {"name": spec}
        elif isinstance(spec, Mapping):
            values = {str(key): value for key, value in spec.items()}
            for key in values.keys() - set(known):
                hint = nearest(key, known)
                meant = f"; did you mean '{hint}'?" if hint else ""
                said = f"unknown key{meant} known: {', '.join(known)}".replace(
                    "y known", "y; known"
                )
                problems.append(Problem(key, said))
        else:
            values = {key: getattr(spec, key, None) for key in known}
        chosen = {key: values.get(key) for key in known}
        for key, value in chosen.items():
            if value is not None and not (isinstance(value, str) and value):
                problems.append(Problem(key, f"{value!r} is no text"))
        if (chosen["name"] is None) == (chosen["path"] is None):
            said = "give either a name (`automata datasets` lists them) or a path, one of the two"
            problems.append(Problem("", said))
        elif chosen["path"] is None:
            problems.extend(
                Problem(key, "goes with a path only; a named set fixes its own")
                for key in ("target", "test", "val")
                if chosen[key] is not None
            )
        if problems:
            raise SpecError(sorted(problems, key=lambda one: one.pointer))
        return cls(**chosen)
