"""What `plan` prints, and the job file with every default written out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automata_svc.jobs.elsewhere import without_defaults
from automata_svc.jobs.planner import Planned
from automata_svc.jobs.protocol import Chosen, PlanView
from automata_svc.selection import STRATEGIES

if TYPE_CHECKING:
    from automata_svc.blobs import BlobStore


def resolved(planned: Planned) -> dict[str, Any]:
    """The job as it will run: the file, with everything that was chosen for it filled in."""
    body: dict[str, Any] = planned.job.model_dump(mode="json", by_alias=True, exclude_none=True)
    for pointer, chosen in planned.chosen.items():
        _put(body, pointer.split("."), chosen)
    if planned.job.spec.trial.external is not None:
        without_defaults(body["spec"])
    dataset = body["spec"]["trial"].get("dataset", {})
    for key in ("path", "test", "val"):  # a resume may start in another folder
        if key in dataset:
            dataset[key] = str(Path(dataset[key]).expanduser().absolute())
    return body


def plan_view(planned: Planned, store: BlobStore) -> PlanView:
    """What `plan` prints of a checked job; `store` is asked whether its subset is there already."""
    schedule = planned.schedule
    search = sum(schedule.rung_prices)
    return PlanView(
        job=resolved(planned),
        chosen=planned.chosen,
        dataset=asdict(planned.shape),
        rungs=planned.lines,
        price=schedule.price,
        price_search=search,
        price_confirm=schedule.confirm,
        expected=None
        if schedule.expected is None
        else {"recipe": schedule.recipe, "raised": schedule.raised, **asdict(schedule.expected)},
        artefact=_artefact(planned, store),
        warnings=planned.warnings,
    )


def _artefact(planned: Planned, store: BlobStore) -> dict[str, Any] | None:
    plan = planned.plan
    if "embeddings" not in STRATEGIES[plan.strategy].needs:
        return None
    if plan.scope == "job":
        return {"key": "of this job alone", "stored": False}
    from automata_svc.selection.artefacts import artefact_key, is_stored, owner_of

    key = artefact_key(
        plan.strategy,
        STRATEGIES[plan.strategy].version,
        planned.shape.digest,
        plan.encoder,
        plan.table.subset_rows,
        plan.strategy_options,
        plan.seed,
        owner_of(plan.scope, plan.job, planned.job.metadata.project),
    )
    return {"key": key, "stored": is_stored(store, key)}


def _put(body: dict[str, Any], path: list[str], chosen: Chosen) -> None:
    for part in path[:-1]:
        body = body.setdefault(part, {})
    if chosen.value is not None:
        body[path[-1]] = chosen.value
