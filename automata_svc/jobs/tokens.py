"""Bearer tokens: made, listed, revoked, and turned into the caller they stand for.

A token is `automata_` and 43 characters, 256 random bits. Only its SHA-256 is stored: there is
nothing to guess in it that would need a slow hash, and whoever reads the database cannot use it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from automata_svc.errors import (
    NotFound,
    Problem,
    SpecError,
    Unauthenticated,
    Unavailable,
    nearest,
)
from automata_svc.jobs.tenancy import ADMIN, Caller, read_scopes

if TYPE_CHECKING:
    from automata_svc.database import TokenRow
    from automata_svc.database.store import Database

PREFIX = "automata_"  # so that people and secret scanners know one when they see it
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

CENTURY_S = 100 * 365 * 86_400.0
TOUCH_EVERY_S = 60.0  # how exact "last used" is; each is a write
EMBEDDED = "embedded"  # how the token is called that `automata serve` makes for its own home
TOKEN_FILE = Path("service") / "token"  # in the home


class NewToken(NamedTuple):
    """A token just made; the only time that its secret is seen."""

    row: TokenRow
    secret: str


class Tokens:
    """All tokens of a service; safe between threads."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock
        self._touched: dict[str, float] = {}
        self._lock = threading.Lock()

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        project: str | None = None,
        expires_in_s: float | None = None,
    ) -> NewToken:
        """Makes a token.

        Args:
            name: for people; what a list shows.
            scopes: names of SCOPES, at least one.
            project: the only one whose things it reaches; None: every project.
            expires_in_s: seconds from now, > 0; None: never.

        Raises:
            SpecError: with every mistake.
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        row = self._row(name, scopes, project, expires_in_s, secret)
        self._database.add_token(row)
        return NewToken(row, secret)

    def rows(self, project: str | None = None) -> list[TokenRow]:
        """Tokens, the newest first, those that are over too; a project's own, or all."""
        rows = self._database.list_tokens(project)
        return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)

    def revoke(self, token: str, project: str | None = None) -> TokenRow:
        """Makes a token useless at once; revoking it again changes nothing.

        Args:
            token: its id, the beginning of it, or its name where one only has it.
            project: only tokens of this one; None: any.

        Raises:
            NotFound: names the nearest.
            SpecError: several fit.
        """
        row = self.find(token, project)
        if row.revoked_at is not None:
            return row
        self._database.revoke_token(row.id, self._clock())
        return self.find(row.id)

    def find(self, token: str, project: str | None = None) -> TokenRow:
        """A token by its id, the beginning of its id, or its name; see `revoke`."""
        rows = self.rows(project)
        fitting = [row for row in rows if row.id == token]
        if not fitting:
            named = [row for row in rows if row.name == token]
            # One that was replaced by another of its name is not meant.
            fitting = [row for row in named if row.revoked_at is None] or named[:1]
        if not fitting and token:
            fitting = [row for row in rows if row.id.startswith((token, f"tok_{token}"))]
        if len(fitting) > 1:
            shown = ", ".join(f"{row.id} ({row.name})" for row in fitting[:5])
            raise SpecError(f"'{token}' fits more than one token: {shown}; give more of the id")
        if not fitting:
            close = nearest(token, [row.name for row in rows] + [row.id for row in rows])
            meant = f"; did you mean '{close}'?" if close else "; `automata token ls` lists them"
            raise NotFound(f"no token '{token}' is stored here{meant}")
        return fitting[0]

    def authenticate(self, secret: str) -> Caller:
        """The caller that a secret stands for.

        Raises:
            Unauthenticated: it is no token, or was never given out, has expired or is revoked.
        """
        if not _FORM.fullmatch(secret):
            raise Unauthenticated(f"that is no token: one is '{PREFIX}' and 43 characters")
        digest = hash_of(secret)
        row = self._database.find_token(digest)
        if row is None or not hmac.compare_digest(row.hash, digest):
            raise Unauthenticated("this token is not known here; was it made for another server?")
        now = self._clock()
        _check_good(row, now)
        self._touch(row, now)
        return Caller(row.id, row.name, row.project, frozenset(row.scopes.split()))

    def is_good(self, token_id: str) -> bool:
        """Whether a caller who was let in by this token would be let in now."""
        try:
            _check_good(self._database.get_token(token_id), self._clock())
        except (NotFound, Unauthenticated):
            return False
        return True

    def embedded(self, home: Path) -> str:
        """The admin token in `home`/service/token, made if it is missing or not good any more.

        The file is readable by its owner only from its first moment, and whole or not there.

        Raises:
            Unavailable: it cannot be written.
        """
        path = home / TOKEN_FILE
        kept = read_token_file(path)
        if kept is not None:
            with suppress(Unauthenticated):
                if ADMIN in self.authenticate(kept).scopes:
                    path.chmod(0o600)
                    return kept
        name = _name_of(home)
        row, secret = self.create(name, [ADMIN])
        # After the row: the file never holds a token that would be refused.
        write_secret(path, secret)
        for old in self._database.list_tokens(None):
            if old.name == name and old.id != row.id and old.revoked_at is None:
                self._database.revoke_token(old.id, self._clock())
        return secret

    def _row(
        self,
        name: str,
        scopes: Iterable[str],
        project: str | None,
        expires_in_s: float | None,
        secret: str,
    ) -> TokenRow:
        from automata_svc.database import TokenRow, new_job_id

        problems: list[Problem] = []
        held: frozenset[str] = frozenset()
        for pointer, value in (("name", name), ("project", project)):
            if value is not None and not _NAME.fullmatch(value):
                said = f"'{value}' is no name: up to 63 of a-z, 0-9 and '-', as in ci-nightly"
                problems.append(Problem(pointer, said))
        if expires_in_s is not None and not 0 < expires_in_s <= CENTURY_S:
            said = f"{expires_in_s:g} s; right is more than 0 and at most 100 years, or nothing"
            problems.append(Problem("expires_in", said))
        try:
            held = read_scopes(scopes)
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(problems)
        now = self._clock()
        return TokenRow(
            id="tok_" + new_job_id(now).removeprefix("job_"),
            hash=hash_of(secret),
            name=name,
            project=project,
            scopes=" ".join(sorted(held)),
            created_at=now,
            expires_at=None if expires_in_s is None else now + expires_in_s,
            revoked_at=None,
            last_used_at=None,
        )

    def _touch(self, row: TokenRow, now: float) -> None:
        with self._lock:
            last = max(row.last_used_at or 0.0, self._touched.get(row.id, 0.0))
            if now - last < TOUCH_EVERY_S:
                return
            self._touched[row.id] = now
        # A database that takes no writes now still lets people look.
        with suppress(Unavailable):
            self._database.touch_token(row.id, now)


def _name_of(home: Path) -> str:
    """The name of a home's own token: several services may have one database."""
    place = f"{socket.gethostname()}:{home.resolve()}"
    return f"{EMBEDDED}-{hash_of(place)[:12]}"


def _check_good(row: TokenRow, now: float) -> None:
    if row.revoked_at is not None:
        raise Unauthenticated(f"token '{row.name}' was revoked")
    if row.expires_at is not None and now >= row.expires_at:
        raise Unauthenticated(f"token '{row.name}' has expired; make a new one")


def hash_of(secret: str) -> str:
    """What is stored of a token: SHA-256, 64 hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_token_file(path: Path) -> str | None:
    """The text of a token file, None where there is none.

    Raises:
        Unavailable: it is there and cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"the token file {path} cannot be read: {_said(error)}") from None


def write_secret(path: Path, secret: str) -> None:
    """Puts a secret into a file of mode 0600; whoever reads it finds the old one or the new one.

    Raises:
        Unavailable: the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes it 0600: there is no moment at which others could open it.
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(secret + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {_said(error)}") from None


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
