"""Every error a user can meet, and the exit code it ends with.

AutomataError            1   something went wrong, said in the user's words
├── SpecError            2   a job, dataset, template or option is not usable; all mistakes at once
│   └── UnknownName      2   a name that is in none of our tables; the nearest is named
├── NotFound             3   no such job, trial, template, dataset or blob
├── Conflict             4   somebody else holds it, or its state does not allow this
│   ├── LeaseLost        4   another driver took the job over
│   ├── Stale            4   it was changed since the one who changes it has read it
│   ├── Replayed         4   this very submission was taken before; says as which job
│   └── KeyReused        4   its idempotency key stands for another submission
├── Damaged              1   stored bytes are not what they were
├── Denied               6   who asks may not do this
│   └── Unauthenticated  6   no token, or one that is not good (any more)
├── TooLarge             2   more bytes than are taken at once
├── TooSlow              5   bytes that did not arrive in time
└── Unavailable          5   a store or database takes or gives nothing now; ask again later
    └── TooMany          5   requests came too fast; says when the next one is taken
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


class Stale(Conflict):
    """What is to be changed was changed in the meantime; read it again."""


class Replayed(Conflict):
    """This very submission was taken before, as `job_id`."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"this was submitted before, as {job_id}")
        self.job_id = job_id


class KeyReused(Conflict):
    """An idempotency key came again with another submission."""


class Damaged(AutomataError):
    """Stored bytes do not match their digest."""


class Unavailable(AutomataError):
    """A store or database is full, away or not ours to write; what was asked may be asked again."""

    exit_code = 5


class Denied(AutomataError):
    """Who asks is known, and may not do this."""

    exit_code = 6


class Unauthenticated(Denied):
    """No token came along, or one that is not good (any more)."""


class TooLarge(AutomataError):
    """More bytes were sent than are taken at once."""

    exit_code = 2


class TooSlow(AutomataError):
    """What was sent did not arrive in the time that one request may take."""

    exit_code = 5


class TooMany(Unavailable):
    """Requests came faster than they are taken; the next one is taken after `retry_after_s`."""

    def __init__(self, said: str, retry_after_s: float) -> None:
        super().__init__(said)
        self.retry_after_s = retry_after_s
