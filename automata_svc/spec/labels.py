"""Labels of jobs: by the lengths that Kubernetes allows, in any script."""

from __future__ import annotations

from collections.abc import Mapping

MAX_LABELS = 64  # guess: of one job; each is a row of an index
MAX_LENGTH = 63  # characters, of a key and of a value; cited: Kubernetes, "Labels and Selectors"


def label_problems(labels: Mapping[str, str]) -> list[tuple[tuple[str, ...], str]]:
    """(where, what is wrong) of labels that cannot be a job's; () is all of them."""
    problems: list[tuple[tuple[str, ...], str]] = []
    if len(labels) > MAX_LABELS:
        problems.append(((), f"{len(labels)} labels; a job has at most {MAX_LABELS}"))
    for key, value in labels.items():
        if not 1 <= len(key) <= MAX_LENGTH:
            said = f"the key '{key[:20]}…' has {len(key)} characters" if key else "a key is empty"
            problems.append(((), f"{said}; a key has 1 to {MAX_LENGTH}"))
        elif len(value) > MAX_LENGTH:
            said = f"{len(value)} characters; a label's value has at most {MAX_LENGTH}"
            problems.append(((key,), said))
    return problems
