"""Where things live, read once from the environment.

AUTOMATA_HOME           state of this machine: database, blobs, logs   (~/.automata)
AUTOMATA_DATABASE_URL   SQLAlchemy URL of the event log                (sqlite in the home)
AUTOMATA_STORE_URL      blobs: file:///folder, s3://bucket/prefix      (a folder in the home)
AUTOMATA_DATA_DIRS      folders with datasets, ':' between             (none)
AUTOMATA_TEMPLATE_DIRS  folders with templates, ':' between, first wins (none)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """One process's view of its surroundings; passed down, never looked up again."""

    home: Path
    database_url: str
    store_url: str
    data_dirs: tuple[Path, ...] = ()
    template_dirs: tuple[Path, ...] = ()

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        env = os.environ if env is None else env
        home = Path(env.get("AUTOMATA_HOME") or "~/.automata").expanduser().absolute()
        return cls(
            home=home,
            database_url=env.get("AUTOMATA_DATABASE_URL") or f"sqlite:///{home / 'automata.db'}",
            store_url=env.get("AUTOMATA_STORE_URL") or (home / "blobs").as_uri(),
            data_dirs=_folders(env.get("AUTOMATA_DATA_DIRS", "")),
            template_dirs=_folders(env.get("AUTOMATA_TEMPLATE_DIRS", "")),
        )


def _folders(value: str) -> tuple[Path, ...]:
    return tuple(Path(part).expanduser().absolute() for part in value.split(os.pathsep) if part)
