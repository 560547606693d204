"""Where things live, read once from the environment.

AUTOMATA_HOME           state of this machine: database, blobs, logs   (~/.automata)
AUTOMATA_DATABASE_URL   SQLAlchemy URL of the event log                (sqlite in the home)
AUTOMATA_STORE_URL      blobs: file:///folder, s3://bucket/prefix      (a folder in the home)
AUTOMATA_DATA_DIRS      folders with datasets, ':' between             (none)
AUTOMATA_TEMPLATE_DIRS  folders with templates, ':' between, first wins (none)
AUTOMATA_DATABASE_URL_FILE  a file that holds the URL, where it holds a password (none)
AUTOMATA_SECRETS_DIR    a folder with a file for each secret that jobs may name (none)
AUTOMATA_STORE_CREDENTIALS_FILE  a file with the AWS_* variables of an S3 store (the environment)
AUTOMATA_CACHE_BYTES    of pushed data and code that is unpacked on a machine (50 GB)
RAY_ADDRESS             of the cluster a service runs jobs on          (a Ray of its own)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from automata_svc.errors import Problem, SpecError

CACHE_BYTES = 50_000_000_000  # guess: a dozen of the largest datasets that can be pushed


@dataclass(frozen=True)
class Settings:
    """One process's view of its surroundings; passed down, never looked up again."""

    home: Path
    database_url: str
    store_url: str
    data_dirs: tuple[Path, ...] = ()
    template_dirs: tuple[Path, ...] = ()
    ray_address: str | None = None
    secrets_dir: Path | None = None
    cache_bytes: int = CACHE_BYTES

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """The settings of a process.

        Raises:
            SpecError: one is not usable.
        """
        env = os.environ if env is None else env
        home = Path(env.get("AUTOMATA_HOME") or "~/.automata").expanduser().absolute()
        return cls(
            home=home,
            database_url=_database_url(env) or f"sqlite:///{home / 'automata.db'}",
            store_url=env.get("AUTOMATA_STORE_URL") or (home / "blobs").as_uri(),
            data_dirs=_folders(env.get("AUTOMATA_DATA_DIRS", "")),
            template_dirs=_folders(env.get("AUTOMATA_TEMPLATE_DIRS", "")),
            ray_address=env.get("RAY_ADDRESS") or None,
            secrets_dir=_folder(env.get("AUTOMATA_SECRETS_DIR", "")),
            cache_bytes=_bytes(env, "AUTOMATA_CACHE_BYTES", CACHE_BYTES),
        )

    def make_home(self) -> None:
        """Makes the home where it is missing; nobody else gets in, for jobs may hold secrets."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def is_embedded(self) -> bool:
        """Whether a service of these settings is all on this machine, in a home of its own."""
        return (
            self.ray_address is None
            and self.database_url == f"sqlite:///{self.home / 'automata.db'}"
            and self.store_url == (self.home / "blobs").as_uri()
        )


def _folder(value: str) -> Path | None:
    return Path(value).expanduser().absolute() if value else None


def _folders(value: str) -> tuple[Path, ...]:
    return tuple(Path(part).expanduser().absolute() for part in value.split(os.pathsep) if part)


def _bytes(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise SpecError(Problem(name, f"'{text}' is no number of bytes, as in {default}"))
    return int(text)


def _database_url(env: Mapping[str, str]) -> str:
    """The URL itself, or what stands in the file that is named for it."""
    file = env.get("AUTOMATA_DATABASE_URL_FILE")
    if env.get("AUTOMATA_DATABASE_URL") or not file:
        return env.get("AUTOMATA_DATABASE_URL", "")
    return Path(file).expanduser().read_text(encoding="utf-8").strip()
