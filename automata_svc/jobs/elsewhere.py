"""A job whose trials are trained elsewhere: what stands in for template, dataset and subset.

Such a training is cut into equal passes, `trial.external.passes` of them, and a client tells of its
progress in shares. A row is a thousandth of a pass, so that rungs round up to whole passes as they
do everywhere, and the price of a job is the share that was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from automata_svc.datasets import Shape
from automata_svc.errors import Problem
from automata_svc.jobs.parameters import check_start_points
from automata_svc.jobs.protocol import Chosen
from automata_svc.jobs.subsets import SubsetChoice
from automata_svc.spec.job import ExternalSpec, TuneJob
from automata_svc.spec.space import Space
from automata_svc.trials.templates import Template
from automata_svc.trials.types import PassTable

ROWS = 1_000  # of a pass: fine enough that a rung's share is not moved by rounding to rows

ELSEWHERE = "the trials are trained elsewhere (trial.external)"

TEMPLATE = Template(
    name="external",
    path="",
    text="",
    sha256="",
    summary="Trained elsewhere; reports by ask and tell.",
    params=(),
    own_schedule=True,
)
SUBSET = SubsetChoice(
    strategy="full",
    fraction=1.0,
    options={},
    encoder=None,
    select_every=1,
    select_reason=ELSEWHERE,
)


def pass_table(external: ExternalSpec) -> PassTable:
    """One pass after the other, up to share 1."""
    return PassTable(external.passes * ROWS, ROWS, 1)


def shape(external: ExternalSpec) -> Shape:
    """Rows that are nobody's: they make shares and prices come out."""
    return Shape("external", "tabular", ROWS, 0, 0, 0, 0, notes=(_resolution(external),))


def fixed_parameters(job: TuneJob, space: Space, problems: list[Problem]) -> dict[str, Any]:
    """What every trial is given besides its own: the settings, of any name."""
    fixed: dict[str, Any] = dict(job.spec.trial.settings)
    problems.extend(
        Problem(
            f"spec.trial.settings.{name}", f"'{name}' is also in spec.space; keep it in one place"
        )
        for name in fixed
        if name in space.domains
    )
    problems.extend(check_start_points(job, space))
    return fixed


def check_sections(job: TuneJob, problems: list[Problem]) -> None:
    """Refuses what is asked for and cannot be had: a subset, a confirmation, a worker's things."""
    spec = job.spec
    refused: dict[str, str] = {}
    for section, reason in _NOT_OURS.items():
        holder: BaseModel = spec.trial if section.startswith("trial.") else spec
        if section.removeprefix("trial.") in holder.model_fields_set:
            refused[section] = reason
    asked = spec.confirm.model_fields_set
    for key in sorted(asked if spec.confirm.enabled else asked - {"enabled"}):
        refused[f"confirm.{key}"] = (
            "there is no confirmation: nobody here can train the winner on; the last rung is where "
            "a trial ends (by default at share 1)"
        )
    if spec.scheduler.eval_rows is not None:
        refused["scheduler.eval_rows"] = "what a value is taken on is up to whoever trains"
    if "average" in spec.scheduler.model_fields_set:
        refused["scheduler.average"] = "weights are averaged, or not, by whoever trains"
    if spec.budget.wall_clock is not None:
        refused["budget.wall_clock"] = (
            "counts the time of a driver, and such a job has none; use price or trials"
        )
    problems.extend(
        Problem(f"spec.{pointer}", f"{ELSEWHERE}: {reason}") for pointer, reason in refused.items()
    )


_NOT_OURS: Mapping[str, str] = {
    "subset": "which rows are trained on is up to whoever trains",
    "checkpoint": "checkpoints are the client's, which may name the latest with a report",
    "trial.resources": "nothing is placed on a cluster",
    "trial.runtime_env": "no worker process is started",
}


def record(chosen: dict[str, Chosen], job: TuneJob, external: ExternalSpec) -> None:
    """What the plan says in the place of subset and confirmation."""
    given = external.model_fields_set

    def note(pointer: str, value: Any, reason: str) -> None:
        chosen[f"spec.{pointer}"] = Chosen(value, reason)

    note("trial.external.timeout", external.timeout, "given" if "timeout" in given else "default")
    note("trial.external.passes", external.passes,
         "given" if "passes" in given else f"default: {_resolution(external)}")  # fmt: skip
    note("confirm.enabled", False, f"{ELSEWHERE}: the best at the last rung wins, unconfirmed")


def without_defaults(spec: dict[str, Any]) -> None:
    """Takes out of a resolved job what does not apply to it, so that it can be submitted again."""
    for section in ("subset", "checkpoint"):
        spec.pop(section, None)
    for section in ("resources", "runtime_env"):
        spec["trial"].pop(section, None)
    spec["scheduler"].pop("average", None)
    spec["confirm"] = {"enabled": False}


def _resolution(external: ExternalSpec) -> str:
    return (
        f"a training has {external.passes:,} passes, so shares count to {1 / external.passes:.3g}"
    )
