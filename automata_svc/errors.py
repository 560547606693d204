"""Every error a user can meet, and the exit code it ends with.

AutomataError            1   something went wrong, said in the user's words
├── SpecError            2   a job, dataset, template or option is not usable; all mistakes at once
│   └── UnknownName      2   a name that is in none of our tables; the nearest is named
├── NotFound             3   no such job, trial, template, dataset or blob
├── Conflict             4   somebody else holds it, or its state does not allow this
│   └── LeaseLost        4   another driver took the job over
├── Damaged              1   stored bytes are not what they were
└── Unavailable          5   a store or database takes or gives nothing now; ask again later
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class AutomataError(Exception):
    """Base of all our errors: the message is written for the person who reads it."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One mistake in something a user wrote."""

    pointer: str  # where: "space.lr.loguniform", "trial.dataset"; "" for the whole
    message: str  # what was asked, what is wrong, what would be right

    def __str__(self) -> str:
        return f"{self.pointer}: {self.message}" if self.pointer else self.message


class SpecError(AutomataError):
    """What was asked cannot be done as written; carries every mistake that was found."""

    exit_code = 2

    def __init__(self, problems: str | Problem | Sequence[Problem], source: str = "") -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.source = source
        head = f"{source}: " if source else ""
        if len(self.problems) == 1:
            text = f"{head}{self.problems[0]}"
        else:
            lines = "\n".join(f"  - {problem}" for problem in self.problems)
            text = f"{head}{len(self.problems)} mistakes\n{lines}"
        super().__init__(text)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None when nothing is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that no table holds."""
    names = sorted(known)
    hint = nearest(name, names)
    meant = f"; did you mean '{hint}'?" if hint else ""
    return f"unknown {kind} '{name}'{meant} known: {', '.join(names) or 'none'}".replace(
        "' known", "'; known"
    )


class UnknownName(SpecError):
    """A name that is in none of our tables."""

    def __init__(self, kind: str, name: str, known: Iterable[str], pointer: str = "") -> None:
        super().__init__(Problem(pointer, unknown(kind, name, known)))


class NotFound(AutomataError):
    """Nothing of that name or id is stored here."""

    exit_code = 3


class Conflict(AutomataError):
    """Another process holds it, or its state does not allow what was asked."""

    exit_code = 4


class LeaseLost(Conflict):
    """Another driver took the job over; this one must stop at once."""


class Damaged(AutomataError):
    """Stored bytes do not match their digest."""


class Unavailable(AutomataError):
    """A store or database is full, away or not ours to write; what was asked may be asked again."""

    exit_code = 5
