"""What each project and each queue may have of the cluster: a file that the operator writes.

AUTOMATA_QUOTAS_FILE=/etc/automata/quotas.yaml

default: {weight: 1}                              # of a project that is not named
projects:
  vision: {weight: 2, slots: 16, jobs: 4}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from automata_svc.errors import Problem, SpecError, unknown
from automata_svc.jobs.admission import ANY, Quota, queue_key

FILE_VARIABLE = "AUTOMATA_QUOTAS_FILE"
_KEYS = ("weight", "slots", "jobs")


def read_quotas(env: Mapping[str, str]) -> Mapping[str, Quota]:
    """Quotas by project; no file, no limits.

    Raises:
        SpecError: with every mistake in the file.
    """
    from automata_svc.spec.decode import decode

    file = env.get(FILE_VARIABLE)
    if not file:
        return {}
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(f"cannot read {file}: {reason}", source=FILE_VARIABLE) from None
    body = decode(text, file)
    problems: list[Problem] = []
    if not isinstance(body, dict) or body.keys() - {"default", "projects", "queues"}:
        raise SpecError("right is a mapping with default, projects and queues", source=file)
    default = _quota(body.get("default") or {}, "default", Quota(), problems)
    found = {ANY: default}
    for section, base, keys in (("projects", default, _KEYS), ("queues", Quota(), _KEYS[1:])):
        named = body.get(section) or {}
        if not isinstance(named, dict):
            problems.append(Problem(section, "right is a mapping of names"))
            continue
        for name, given in named.items():
            key = str(name) if section == "projects" else queue_key(str(name))
            found[key] = _quota(given, f"{section}.{name}", base, problems, keys)
    if problems:
        raise SpecError(problems, source=file)
    return found


def _quota(
    given: Any,
    pointer: str,
    default: Quota,
    problems: list[Problem],
    keys: Sequence[str] = _KEYS,
) -> Quota:
    if not isinstance(given, dict):
        problems.append(Problem(pointer, f"right is a mapping of: {', '.join(keys)}"))
        return default
    values: dict[str, Any] = {
        "weight": default.weight,
        "slots": default.slots,
        "jobs": default.jobs,
    }
    for key, value in given.items():
        at = f"{pointer}.{key}"
        if key not in keys:
            problems.append(Problem(at, unknown("key", str(key), keys)))
        elif key == "weight":
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                problems.append(Problem(at, f"{value!r}; right is a number above 0"))
            else:
                values[key] = float(value)
        elif value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 0
        ):
            problems.append(Problem(at, f"{value!r}; right is a whole number from 0 on, or null"))
        else:
            values[key] = value
    return Quota(**values)
