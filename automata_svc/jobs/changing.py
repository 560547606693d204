"""What may be changed of a job that was submitted, as a merge-patch on its row.

The plan stays: it is what the log was decided under. How many segments may run at a time is no
part of a decision, only of who gets slots, so the job file in the row has the last word on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from automata_svc.errors import Conflict, Problem, SpecError
from automata_svc.jobs.webhooks import check_receivers
from automata_svc.spec.job import JobSpec, NotifySpec
from automata_svc.spec.labels import label_problems
from automata_svc.spec.words import pointer_of
from automata_svc.tuning.state import JOB_ENDS

if TYPE_CHECKING:
    from automata_svc.database import StoredJob
    from automata_svc.jobs.addresses import AddressPolicy

OF_THE_FILE = frozenset({"notify", "retention", "parallelism"})
WHEN_OVER = frozenset({"labels", "retention"})


def changes(record: StoredJob, given: Mapping[str, Any], webhooks: AddressPolicy) -> dict[str, Any]:
    """New values of the job's columns.

    Args:
        given: of priority, queue, labels, notify, retention and parallelism, as the job file has
            them; labels and retention are merged, a label that is None is removed. One that is None
            as a whole becomes what a file that does not say it has.
        webhooks: where receivers may be.

    Raises:
        SpecError: a receiver cannot be told; too many labels, or too long ones.
        Conflict: the job is over, and more than labels and retention is to change; or its slots
            are not a service's to give.
    """
    if record.state in JOB_ENDS and given.keys() - WHEN_OVER:
        said = "only its labels and its retention can still be changed"
        raise Conflict(f"{record.id} is already finished: {record.state}; {said}")
    if "parallelism" in given and record.driver == "cli":
        said = "a command line drives it, on as many slots as it began with"
        raise Conflict(f"the parallelism of {record.id} cannot be changed: {said}")
    new: dict[str, Any] = {
        key: _unsaid(key) if given[key] is None else given[key]
        for key in ("priority", "queue")
        if key in given
    }
    if "labels" in given:
        new["labels"] = _merged_labels(json.loads(record.labels), given["labels"])
    if given.keys() & OF_THE_FILE:
        new["spec"] = json.dumps(_changed(json.loads(record.spec), given, webhooks))
    return new


def most_at_a_time(record: StoredJob) -> int | None:
    """Segments of a job that may run at a time, as its file has it now; None: any number."""
    most: int | None = json.loads(record.spec)["spec"].get("parallelism")
    return most


def _unsaid(key: str) -> Any:
    """What a job has where its file says nothing of it."""
    return JobSpec.model_fields[key].default


def _merged_labels(labels: Mapping[str, str], given: Mapping[str, str | None] | None) -> str:
    merged = {} if given is None else {**labels, **given}
    kept = {key: value for key, value in merged.items() if value is not None}
    problems = [Problem(pointer_of(("labels", *at)), said) for at, said in label_problems(kept)]
    if problems:
        raise SpecError(problems)
    return json.dumps(kept, ensure_ascii=False)


def _changed(
    file: dict[str, Any], given: Mapping[str, Any], webhooks: AddressPolicy
) -> dict[str, Any]:
    spec = file["spec"]
    if "notify" in given:
        spec["notify"] = given["notify"] or []
        receivers = [NotifySpec.model_validate(one) for one in spec["notify"]]
        problems = check_receivers(receivers, webhooks)
        if problems:
            raise SpecError(problems)
    if "retention" in given:
        unsaid = _unsaid("retention").model_dump(mode="json", exclude_none=True)
        kept = spec.get("retention", {})
        spec["retention"] = unsaid if given["retention"] is None else {**kept, **given["retention"]}
    if "parallelism" in given:
        spec["parallelism"] = given["parallelism"]
    return file
