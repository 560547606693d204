"""What a job asks of its trials' processes: packages, variables, secrets. Checked at submit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from automata_svc.errors import Problem, nearest
from automata_svc.settings import Settings
from automata_svc.spec.job import RuntimeEnv

if TYPE_CHECKING:
    from automata_svc.database import StoredJob

POINTER = "spec.trial.runtime_env"
MOST = 100  # of each
MAX_VALUE = 32_768  # characters of a variable
OURS = ("AUTOMATA_", "RAY_")  # variables that the service itself goes by

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_URL = re.compile(r"[a-z0-9+.-]+://\S+", re.IGNORECASE)


def check_runtime_env(asked: RuntimeEnv, settings: Settings) -> list[Problem]:
    """Every mistake in it; a secret's value is never looked at."""
    return [
        Problem(f"{POINTER}.{pointer}", said)
        for pointer, said in (*_pip(asked), *_variables(asked), *_secrets(asked, settings))
    ]


def secret_names(settings: Settings) -> list[str]:
    """The secrets that jobs may name: the files of AUTOMATA_SECRETS_DIR."""
    folder = settings.secrets_dir
    if folder is None:
        return []
    try:
        names = [path.name for path in folder.iterdir() if _is_secret(path)]
    except OSError:
        return []
    return sorted(names)


def packages_of(record: StoredJob) -> tuple[str, ...]:
    """What Ray is to install for a stored job's workers."""
    asked = json.loads(record.spec)["spec"]["trial"].get("runtime_env") or {}
    return tuple(asked.get("pip") or ())


def _is_secret(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None and path.is_file()


def _pip(asked: RuntimeEnv) -> Iterator[tuple[str, str]]:
    if len(asked.pip) > MOST:
        yield "pip", f"{len(asked.pip)} packages; at most {MOST}"
    for index, text in enumerate(asked.pip):
        pointer = f"pip[{index}]"
        if text.lstrip().startswith("-"):
            yield pointer, "is an option of pip, not a requirement such as 'timm==1.0.9'"
        elif not text.isprintable() or len(text) > 500:
            yield pointer, "is no line of at most 500 characters"
        elif any(_has_user(url) for url in _URL.findall(text)):
            yield pointer, "holds a URL with credentials, and who sees the job would see them"


def _has_user(url: str) -> bool:
    try:
        return "@" in urlsplit(url).netloc
    except ValueError:
        return True


def _variables(asked: RuntimeEnv) -> Iterator[tuple[str, str]]:
    if len(asked.env_vars) > MOST:
        yield "env_vars", f"{len(asked.env_vars)} variables; at most {MOST}"
    for name, value in asked.env_vars.items():
        pointer = f"env_vars.{name[:100]}"
        if not _NAME.fullmatch(name):
            yield pointer, "is no name of a variable: letters, digits and _, no digit first"
        elif name.startswith(OURS):
            yield pointer, f"begins with {' or '.join(OURS)}, which are the service's own"
        elif "\0" in value or len(value) > MAX_VALUE:
            yield pointer, f"has a value that no process can have ({len(value):,} characters)"


def _secrets(asked: RuntimeEnv, settings: Settings) -> Iterator[tuple[str, str]]:
    if not asked.secrets:
        return
    known = secret_names(settings)
    for index, name in enumerate(asked.secrets):
        pointer = f"secrets[{index}]"
        if name in asked.secrets[:index]:
            yield pointer, f"'{name}' is listed twice"
        elif name in asked.env_vars:
            yield pointer, f"'{name}' is one of env_vars too; keep one"
        elif not _NAME.fullmatch(name) or name.startswith(OURS):
            yield pointer, f"'{name[:100]}' is no name of a variable that can be set"
        elif settings.secrets_dir is None:
            yield pointer, "no secret can be named here: AUTOMATA_SECRETS_DIR is not set"
        elif name not in known:
            hint = nearest(name, known)
            meant = f"; did you mean '{hint}'?" if hint else ""
            yield pointer, f"'{name}' is not on this service's list of secrets{meant}"
