"""What is to change of a submitted job, from what somebody wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from automata_svc.errors import Problem, SpecError
from automata_svc.spec.load import assign
from automata_svc.spec.wire.jobs import JobPatch
from automata_svc.spec.words import problems_of


def parse_patch(assignments: Sequence[str]) -> dict[str, Any]:
    """Reads "parallelism=4", "labels.team=vision", "labels.old=null": a path and a YAML value.

    Raises:
        SpecError: every mistake in one.
    """
    data: dict[str, Any] = {}
    found = (assign(data, text, text.partition("=")[0].strip().split(".")) for text in assignments)
    problems = [one for one in found if isinstance(one, Problem)]
    if problems:
        raise SpecError(problems)
    return read_patch(data)


def read_patch(values: Mapping[str, Any]) -> dict[str, Any]:
    """A merge-patch in JSON's terms, with only what was given.

    Raises:
        SpecError: every mistake in one.
    """
    try:
        patch = JobPatch.model_validate(dict(values))
    except ValidationError as error:
        raise SpecError(problems_of(error, JobPatch)) from None
    return patch.model_dump(mode="json", exclude_unset=True)
