"""Where jobs are: on this machine, or at a server; and which."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automata_svc.errors import SpecError
from automata_svc.settings import Settings

if TYPE_CHECKING:
    from automata_svc.client.bundles import Progress
    from automata_svc.jobs.local import LocalService
    from automata_svc.jobs.remote import RemoteService


@dataclass(frozen=True)
class Where:
    """What somebody said of where jobs are; nothing of it: a live server of the home, else here."""

    server: str | None = None
    token: str | None = None
    token_file: Path | None = None
    local: bool = False  # here, whatever else there is


def connect(
    where: Where,
    settings: Settings,
    env: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> LocalService | RemoteService:
    """The service to work with.

    Args:
        say: told where jobs are, if nobody has said it; and later what a wait is for.

    Raises:
        SpecError: the URL or the token's file cannot be used.
    """
    env = os.environ if env is None else env
    named = where.server or env.get("AUTOMATA_SERVER")
    if where.local and where.server:
        raise SpecError(f"--local and --server {where.server} exclude each other; keep one")
    own = None if where.local else live_server(settings.home)
    url = None if where.local else named or own
    if url is None:
        from automata_svc.jobs.local import LocalService

        return LocalService(settings)
    from automata_svc.client.http import Http
    from automata_svc.jobs.remote import RemoteService

    if not where.server:
        how = "AUTOMATA_SERVER names it" if named else "it is live in this home"
        say(f"jobs are at {url} ({how}; --local runs them here instead)")
    is_own = own is not None and url.rstrip("/") == own.rstrip("/")
    return RemoteService(Http(url, _token(where, settings, env, is_own)), None, say, progress)


def live_server(home: Path) -> str | None:
    """The URL of a server that is at work in a home; it holds a lock as long as it lives."""
    import fcntl

    folder = home / "service"
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back when the file is closed
            return None
    except BlockingIOError:
        pass  # somebody has it
    except OSError:
        return None
    try:
        return (folder / "url").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None  # on its way up


def _token(where: Where, settings: Settings, env: Mapping[str, str], is_own: bool) -> str | None:
    """The first of: given, its file, the environment; a home's own is for its own server only."""
    if where.token is not None:
        return where.token
    if where.token_file is not None:
        return _read(where.token_file)
    if env.get("AUTOMATA_TOKEN"):
        return env["AUTOMATA_TOKEN"].strip()
    own = settings.home / "service" / "token"
    return _read(own) if is_own and own.is_file() else None


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SpecError(f"the token's file {path} cannot be read: {error.strerror}") from None
