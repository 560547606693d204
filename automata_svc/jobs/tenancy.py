"""Who asks, and what of the service is theirs: scopes say what may be done, projects to what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from automata_svc.errors import Denied, NotFound, Problem, SpecError, unknown
from automata_svc.spec.scopes import ADMIN, SCOPES

__all__ = ["ADMIN", "OPERATOR", "SCOPES", "Caller", "read_scopes"]


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, as far as the token they sent says."""

    token_id: str
    name: str  # of the token, for people
    project: str | None  # the one it is bound to; None: every project
    scopes: frozenset[str]  # names of SCOPES

    def may(self, scope: str) -> bool:
        """Whether the token's scopes hold this one; admin holds all."""
        return scope in self.scopes or ADMIN in self.scopes

    def needs(self, scope: str) -> None:
        """Lets those pass who may.

        Raises:
            Denied: names the scope that is missing.
        """
        if not self.may(scope):
            has = ", ".join(sorted(self.scopes)) or "none"
            raise Denied(
                f"this needs the scope '{scope}' ({SCOPES[scope]}); token '{self.name}' has: {has}"
            )

    def sees(self, project: str) -> bool:
        """Whether things of that project exist for this caller; others are as if not there."""
        return self.project is None or self.project == project

    def shown(self, asked: str | None) -> str | None:
        """The project that a list is of: the one that is asked for, else the caller's; None: all.

        Raises:
            NotFound: another project's than the caller's.
        """
        if asked is not None and not self.sees(asked):
            raise NotFound(f"no project '{asked}' is here for you")
        return asked if asked is not None else self.project

    def home(self, asked: str | None, default: str = "default") -> str:
        """The project that something new goes to.

        Raises:
            Denied: the token is bound to another one.
        """
        if asked is not None and not self.sees(asked):
            raise Denied(
                f"token '{self.name}' is bound to project '{self.project}' and cannot put "
                f"anything into '{asked}'; leave the project out, or use a token of '{asked}'"
            )
        return asked or self.project or default


# Whoever reaches the database and the files directly: the command line without a server.
OPERATOR = Caller(token_id="", name="operator", project=None, scopes=frozenset({ADMIN}))


def read_scopes(names: Iterable[str], pointer: str = "scopes") -> frozenset[str]:
    """Checks names of scopes.

    Raises:
        SpecError: none was given, or unknown ones; all mistakes, each with the nearest name.
    """
    asked = [name.strip() for name in names if name.strip()]
    problems = [
        Problem(pointer, unknown("scope", name, SCOPES)) for name in asked if name not in SCOPES
    ]
    if not asked:
        problems = [Problem(pointer, f"a token needs at least one; known: {', '.join(SCOPES)}")]
    if problems:
        raise SpecError(problems)
    return frozenset(asked)
