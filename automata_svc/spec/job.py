"""What is asked: one job file, as data. Nothing here opens a file, a dataset or a template.

What needs the template, the dataset or the strategy to be judged is judged by `jobs.planner`; what
can be judged from the file alone is judged here, all mistakes at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticKnownError

from automata_svc.spec.base import (
    AnyScalar,
    Bool,
    Float,
    Int,
    Mistakes,
    Model,
    Seconds,
    as_labels,
    said,
    show,
)
from automata_svc.spec.domain import Domain
from automata_svc.spec.labels import label_problems
from automata_svc.spec.scheduler import SchedulerSpec
from automata_svc.spec.space import read_space

Share = Annotated[Float, Field(gt=0, le=1)]
Name = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]

Text = Annotated[str, Field(min_length=1)]

DATASET_SUFFIXES = (".npz", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")

# ---- metadata -----------------------------------------------------------------------------------


class Metadata(Model):
    """Who a job is."""

    name: Name  # need not be unique; a job's id is
    project: Name = "default"  # jobs of a project share subsets, where the scope says so
    labels: Annotated[dict[str, str], BeforeValidator(as_labels)] = {}

    @field_validator("labels", mode="after")
    @classmethod
    def _within_bounds(cls, labels: dict[str, str]) -> dict[str, str]:
        mistakes = Mistakes()
        for at, message in label_problems(labels):
            mistakes.add(at, message)
        mistakes.raise_any()
        return labels


# ---- trial --------------------------------------------------------------------------------------


def dataset_in_full(text: str) -> dict[str, str]:
    """What a dataset that is a text alone is short for."""
    is_path = "/" in text or text.endswith(DATASET_SUFFIXES)
    return {"path" if is_path else "name": text}


class DatasetSpec(Model):
    """A named dataset, or files of one's own. A text alone is a name, or a path if it looks so."""

    name: Text | None = None
    path: Text | None = None  # .npz, .csv, .jsonl; the last two also with .gz
    target: str | None = None  # the column or field to predict; with a path
    test: str | None = None  # file with the test rows; with a path
    val: str | None = None  # file with the validation rows; with a path

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return dataset_in_full(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_two(self) -> DatasetSpec:
        mistakes = Mistakes()
        if (self.name is None) == (self.path is None):
            mistakes.add((), "takes a name or a path, one of the two")
        elif self.name is not None:
            for key in ("target", "test", "val"):
                if getattr(self, key) is not None:
                    mistakes.add(key, "goes with a path; a named dataset fixes its own")
        mistakes.raise_any()
        return self


class RuntimeEnv(Model):
    """What a trial's process gets besides the template; only where a service runs the job."""

    pip: tuple[Text, ...] = ()  # requirement strings, installed by Ray on the cluster
    env_vars: Annotated[
        dict[str, str], BeforeValidator(as_labels)
    ] = {}  # whoever reads the job reads them
    secrets: tuple[Text, ...] = ()  # names from the operator's allow-list; values are never stored


class ExternalSpec(Model):
    """Trials that are trained elsewhere and report by ask and tell."""

    timeout: Annotated[Seconds, Field(gt=0)] = 3600.0  # silence after which a client counts as lost
    # equal parts of a training that can be told of (its epochs, say); rungs round up to them
    passes: Annotated[Int, Field(ge=1, le=10_000)] = 10_000


class Resources(Model):
    """What one segment holds while it runs."""

    cpu: Annotated[Float, Field(gt=0)] = 1.0  # also its torch threads, rounded down
    gpu: Annotated[Float, Field(ge=0)] = 0.0


class TrialSpec(Model):
    """What one configuration trains: a template on a dataset, or something outside (external)."""

    external: ExternalSpec | None = None  # instead of template and dataset: ask and tell
    # a name, name@sha256 of a pushed one, or the path of a file
    template: Annotated[Text | None, Field(validate_default=True)] = None
    dataset: Annotated[DatasetSpec | None, Field(validate_default=True)] = None
    code: Text | None = None  # a folder that the template may import from
    runtime_env: RuntimeEnv = RuntimeEnv()
    settings: dict[str, AnyScalar] = {}  # parameters of the template that are not searched
    resources: Resources = Resources()

    @field_validator("template", "dataset", "code", mode="after")
    @classmethod
    def _one_of_two(cls, value: Any, info: ValidationInfo) -> Any:
        if "external" not in info.data:  # it has mistakes of its own
            return value
        if info.data["external"] is None:
            if value is None and info.field_name != "code":
                raise PydanticKnownError("missing")
        elif value is not None:
            raise said("does not go with external: what is trained is not ours")
        return value


# ---- objective ----------------------------------------------------------------------------------

_MODES: Mapping[str, str] = {
    "max": "max",
    "maximize": "max",
    "maximise": "max",
    "min": "min",
    "minimize": "min",
    "minimise": "min",
}


def _default_mode(data: dict[str, Any]) -> Literal["max", "min"]:
    return "min" if str(data.get("metric", "")).endswith(("loss", "error")) else "max"


class Objective(Model):
    """What makes one trial better than another."""

    metric: Text = "val_accuracy"  # what the template reports, with val_ in front
    # max, unless the metric's name ends with loss or error
    mode: Literal["max", "min"] = Field(default_factory=_default_mode)

    @model_validator(mode="before")
    @classmethod
    def _other_words(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        words = [key for key in ("mode", "goal", "direction") if key in value]
        if len(words) > 1:
            raise said(f"{' and '.join(words)} say the same; keep mode")
        if not words:
            return value
        asked = value[words[0]]
        mode = _MODES.get(asked.lower()) if isinstance(asked, str) else None
        if mode is None:
            mistakes = Mistakes()
            is_value = isinstance(asked, int | float) and not isinstance(asked, bool)
            instead = "; a value that is good enough is budget.goal" if is_value else ""
            mistakes.add(words[0], f"{show(asked)} is neither max nor min{instead}", asked)
            mistakes.raise_any()
        return {**{k: v for k, v in value.items() if k != words[0]}, "mode": mode}


# ---- subset, search, guards ---------------------------------------------------------------------


def _as_options(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise said(f"{show(value)} is not a mapping of option names to values")
    return {str(key): item for key, item in value.items()}


class SubsetSpec(Model):
    """Which rows a trial sees."""

    strategy: Text = "adaptive_random"
    fraction: Share = 0.1  # subset rows / training rows
    # who shares a model-free subset; shared: all projects of the service
    scope: Literal["job", "project", "shared"] = "project"
    select_every: Annotated[Int, Field(ge=1)] | None = (
        None  # walks over a subset between selections
    )
    encoder: Text | None = None  # only for strategies that look at embeddings
    options: Annotated[dict[str, Any], BeforeValidator(_as_options)] = {}  # the strategy's own


class SearchSpec(Model):
    """How configurations are proposed."""

    type: Literal["random", "qmc", "grid", "tpe"] = "random"
    seed: Annotated[Int, Field(ge=0)] = 0  # reaches every draw of the job
    startup_trials: Annotated[Int, Field(ge=0)] | None = None  # tpe: random ones before its model
    start_points: tuple[dict[str, AnyScalar], ...] = ()  # tried first; what they leave out is drawn

    @model_validator(mode="after")
    def _goes_together(self) -> SearchSpec:
        if self.startup_trials is not None and self.type != "tpe":
            mistakes = Mistakes()
            mistakes.add("startup_trials", f"goes with type tpe; {self.type} has no model to start")
            mistakes.raise_any()
        return self


class GuardSpec(Model):
    """A rule that compares a trial with its own past and may end it. A text alone is its type."""

    type: Literal["non_finite", "divergence"]
    loss_ratio: Annotated[Float, Field(gt=1)] | None = (
        None  # × first pass's loss; null: the guard's
    )
    gradient_spike: Annotated[Float, Field(gt=1)] | None = None  # × usual norm; null: the guard's

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _goes_together(self) -> GuardSpec:
        mistakes = Mistakes()
        for key in ("loss_ratio", "gradient_spike"):
            if self.type != "divergence" and getattr(self, key) is not None:
                mistakes.add(key, f"goes with type divergence; {self.type} has no threshold")
        mistakes.raise_any()
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


# ---- confirmation, budget, failure, checkpoints -------------------------------------------------


class FinishSpec(Model):
    """How a full training ends."""

    decay: Annotated[Float, Field(ge=0, le=0.5)] = (
        0.2  # share over which the rate goes to 0; 0: never
    )


class ConfirmSpec(Model):
    """The best trials on all training rows, to share 1."""

    enabled: Bool = True
    resume: Bool = True  # go on from the last rung; else from the start, at a price of 1 each
    finish: FinishSpec = FinishSpec()
    top_k: Annotated[Int, Field(ge=1)] | None = None  # how many; null: what the rungs leave


class BudgetSpec(Model):
    """What a job may take; whatever is met first ends the search."""

    trials: Annotated[Int, Field(ge=1, le=1_000_000)]
    price: Annotated[Float, Field(gt=0)] | None = None  # full trainings; null: the plan's default
    wall_clock: Annotated[Seconds, Field(gt=0)] | None = (
        None  # driver-alive seconds, or "6h", "30m"
    )
    goal: Float | None = None  # an objective value that is good enough
    no_improve_trials: Annotated[Int, Field(ge=1)] | None = None  # trials in a row without a better


class FailureSpec(Model):
    """How much may go wrong."""

    trial_retries: Annotated[Int, Field(ge=0)] = 2  # lost segments a trial may have
    max_failed_trials: Annotated[Int, Field(ge=0)] = 10  # more than that fail the job


class CheckpointSpec(Model):
    """What a kill may cost."""

    every_share: Annotated[Float, Field(gt=0, le=0.5)] = 0.05  # of a full training


# ---- with a service -----------------------------------------------------------------------------

JobNews = Literal["succeeded", "failed", "cancelled", "paused"]


class NotifySpec(Model):
    """Whom to tell when a job reaches a state."""

    events: tuple[JobNews, ...] = ("succeeded", "failed")
    webhook: Annotated[str, Field(min_length=1, max_length=2000)]  # http(s) URL; signed, retried


class RetentionSpec(Model):
    """How long things are kept after a job has ended; null: for ever."""

    checkpoints: Annotated[Seconds, Field(gt=0)] | None = 14 * 86_400.0  # all but the winner's
    keep_best: Bool = True  # the winner's checkpoint stays as long as the job
    job: Annotated[Seconds, Field(gt=0)] | None = None  # the job itself, its log and its logs


# ---- the job ------------------------------------------------------------------------------------

_Space = Annotated[
    dict[str, Domain],
    PlainValidator(read_space),
    PlainSerializer(lambda space: {name: domain.to_json() for name, domain in space.items()}),
]
_DEFAULT_GUARDS = (GuardSpec(type="non_finite"), GuardSpec(type="divergence"))


class JobSpec(Model):
    """What one search is to do."""

    description: Annotated[str, Field(max_length=10_000)] = ""
    trial: TrialSpec
    objective: Objective = Objective()
    space: _Space
    subset: SubsetSpec = SubsetSpec()
    search: SearchSpec = SearchSpec()
    scheduler: SchedulerSpec = SchedulerSpec()
    guards: tuple[GuardSpec, ...] = _DEFAULT_GUARDS
    confirm: ConfirmSpec = ConfirmSpec()
    budget: BudgetSpec
    failure: FailureSpec = FailureSpec()
    parallelism: Annotated[Int, Field(ge=1)] | None = (
        None  # segments at a time; null: all free slots
    )
    checkpoint: CheckpointSpec = CheckpointSpec()
    queue: Name = "default"  # the following are a service's; a job run here ignores them
    priority: Annotated[Int, Field(ge=0, le=100)] = 50  # higher first
    notify: tuple[NotifySpec, ...] = ()
    retention: RetentionSpec = RetentionSpec()

    @field_validator("guards", mode="after")
    @classmethod
    def _each_once(cls, guards: tuple[GuardSpec, ...]) -> tuple[GuardSpec, ...]:
        mistakes = Mistakes()
        for index, guard in enumerate(guards):
            if any(guard.type == other.type for other in guards[:index]):
                mistakes.add((index,), f"guard {guard.type} is listed twice")
        mistakes.raise_any()
        return guards

    @model_validator(mode="after")
    def _fits_the_trials(self) -> JobSpec:
        mistakes = Mistakes()
        trials, keep, top_k = self.budget.trials, self.scheduler.keep, self.confirm.top_k
        if keep is not None and keep[0] > trials:
            message = f"keeps {keep[0]} trials at the first rung, but budget.trials is {trials}"
            mistakes.add(("scheduler", "keep"), message)
        if top_k is not None and top_k > trials:
            message = f"{top_k} trials are to be confirmed, but budget.trials is {trials}"
            mistakes.add(("confirm", "top_k"), message)
        if len(self.search.start_points) > trials:
            message = f"{len(self.search.start_points)} points, but budget.trials is {trials}"
            mistakes.add(("search", "start_points"), message)
        mistakes.raise_any()
        return self


class TuneJob(Model):
    """A whole job file."""

    apiVersion: Literal["automata/v1"]
    kind: Literal["TuneJob"]
    metadata: Metadata
    spec: JobSpec
