"""From a job file to a SearchPlan: every default filled in with its reason, every mistake found at
once.

Starts nothing and runs nobody's code: templates are read, datasets are opened for their shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automata_svc.datasets import Shape, Source, describe
from automata_svc.errors import AutomataError, Problem, SpecError
from automata_svc.jobs.parameters import check_parameters, largest_batch, smallest_batch
from automata_svc.jobs.protocol import Chosen, RungLine
from automata_svc.jobs.rungs import MIN_STEPS, pass_table, steps_at, subset_rows
from automata_svc.jobs.schedule import Schedule, choose_schedule
from automata_svc.jobs.subsets import SubsetChoice, choose_subset
from automata_svc.settings import Settings
from automata_svc.spec.job import TuneJob
from automata_svc.spec.space import Space, compile_space
from automata_svc.trials.templates import Template, find_template
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.searchers import SEARCHERS


@dataclass(frozen=True)
class Planned:
    """A checked job: what the core needs, and what `plan` prints."""

    job: TuneJob
    plan: SearchPlan
    template: Template
    shape: Shape
    schedule: Schedule
    lines: tuple[RungLine, ...]
    chosen: Mapping[str, Chosen]
    warnings: tuple[str, ...]


def make_plan(
    job: TuneJob, settings: Settings, job_id: str = "job_plan", source: str = ""
) -> Planned:
    """Checks a job against its template, dataset and strategy, and decides what can be decided.

    Raises:
        SpecError: with every mistake that was found, each with its pointer into the job file.
    """
    problems: list[Problem] = []
    template = _template(job, settings, problems)
    shape = _shape(job, settings, problems)
    space = compile_space(job.spec.model_dump(mode="json")["space"])
    fixed: dict[str, Any] = {}
    if template is not None:
        fixed = check_parameters(job, template, space, problems)
    _check_metric(job, problems)
    subset = choose_subset(job, shape, problems)
    trials = _trials(job, space, problems)
    if template is None or shape is None or subset is None or problems:
        raise SpecError(problems, source)
    chosen: dict[str, Chosen] = {}
    warnings: list[str] = []
    epochs = int(fixed["epochs"])
    total = epochs * shape.n_train
    batches = (smallest_batch(space, fixed), largest_batch(space, fixed))
    smallest, largest = batches
    rows = subset_rows(subset.fraction, shape.n_train, largest)
    base = _base(job, job_id, shape, fixed, epochs, trials, subset)

    def with_rungs(first_share: float, **fields: Any) -> SearchPlan:
        table = pass_table(total, rows, first_share, largest)
        return SearchPlan(**base, table=table, **fields)

    schedule = choose_schedule(job, trials, subset, with_rungs, batches, problems)
    if schedule is None or problems:
        raise SpecError(problems, source)
    plan = schedule.plan
    _record(chosen, job, shape, fixed, subset, rows, schedule)
    _warn(warnings, job, plan, subset, rows, largest, schedule)
    lines = _lines(plan, smallest, largest, schedule)
    return Planned(job, plan, template, shape, schedule, lines, chosen, tuple(warnings))


def source_of(job: TuneJob) -> Source:
    """The dataset a job names, as the datasets package asks for it."""
    dataset = job.spec.trial.dataset
    return Source(
        name=dataset.name,
        path=dataset.path,
        target=dataset.target,
        test=dataset.test,
        val=dataset.val,
    )


#
# --------------------------------------------------------------------------------------------------


def _template(job: TuneJob, settings: Settings, problems: list[Problem]) -> Template | None:
    try:
        return find_template(job.spec.trial.template, settings)
    except AutomataError as error:
        problems.extend(_pointed(error, "spec.trial.template"))
        return None


def _shape(job: TuneJob, settings: Settings, problems: list[Problem]) -> Shape | None:
    try:
        return describe(source_of(job), settings)
    except AutomataError as error:
        problems.extend(_pointed(error, "spec.trial.dataset"))
        return None


def _pointed(error: AutomataError, pointer: str) -> list[Problem]:
    """An error of a template or a dataset, where the job file names it."""
    if not isinstance(error, SpecError):
        return [Problem(pointer, str(error))]
    source = f"{error.source}: " if error.source else ""
    return [
        Problem(
            pointer, source + ("" if one.pointer in _SAID else f"{one.pointer}: ") + one.message
        )
        for one in error.problems
    ]


_SAID = frozenset({"", "name", "trial.template"})  # inner pointers that say what `pointer` says


def _check_metric(job: TuneJob, problems: list[Problem]) -> None:
    metric = job.spec.objective.metric
    if not metric.startswith("val_"):
        hint = (
            "test values are never tuned on" if metric.startswith("test_") else "e.g. val_accuracy"
        )
        problems.append(
            Problem(
                "spec.objective.metric",
                f"'{metric}' is not a validation metric; its name must start with val_ ({hint})",
            )
        )


def _trials(job: TuneJob, space: Space, problems: list[Problem]) -> int:
    asked = job.spec.budget.trials
    if job.spec.search.type != "grid":
        return asked
    endless = [name for name, domain in space.domains.items() if not domain.is_finite]
    if endless:
        problems.extend(
            Problem(
                f"spec.space.{name}",
                "grid search needs listed values; give a list, randint or quniform, or search with "
                "random, qmc or tpe",
            )
            for name in endless
        )
        return asked
    return min(asked, space.grid_size or asked)


def _base(
    job: TuneJob,
    job_id: str,
    shape: Shape,
    fixed: Mapping[str, Any],
    epochs: int,
    trials: int,
    subset: SubsetChoice,
) -> dict[str, Any]:
    spec = job.spec
    metric = spec.objective.metric
    return {
        "job": job_id,
        "seed": spec.search.seed,
        "metric": metric,
        "mode": spec.objective.mode,
        "loss_metric": "val_loss",
        "rank_by": spec.scheduler.rank_by,
        "n_train": shape.n_train,
        "n_val": shape.n_val,
        "n_test": shape.n_test,
        "dataset_digest": shape.digest,
        "epochs": epochs,
        "trials": trials,
        "parallelism": spec.parallelism,
        "search": spec.search.type,
        "startup_trials": spec.search.startup_trials,
        "start_points": tuple(dict(point) for point in spec.search.start_points),
        "space": spec.model_dump(mode="json")["space"],
        "fixed": fixed,
        "guards": tuple(
            {k: v for k, v in guard.model_dump().items() if v is not None} for guard in spec.guards
        ),
        "strategy": subset.strategy,
        "fraction": subset.fraction,
        "strategy_options": subset.options,
        "select_every": subset.select_every,
        "encoder": subset.encoder,
        "scope": spec.subset.scope,
        "confirm": spec.confirm.enabled,
        "resume": spec.confirm.resume,
        "finish": spec.confirm.finish.decay,
        "checkpoint_every": spec.checkpoint.every_share,
        "wall_clock_s": spec.budget.wall_clock,
        "goal": spec.budget.goal,
        "no_improve_trials": spec.budget.no_improve_trials,
        "trial_retries": spec.failure.trial_retries,
        "max_failed_trials": spec.failure.max_failed_trials,
        "cpus": spec.trial.resources.cpu,
        "gpus": spec.trial.resources.gpu,
    }


def _record(
    chosen: dict[str, Chosen],
    job: TuneJob,
    shape: Shape,
    fixed: Mapping[str, Any],
    subset: SubsetChoice,
    rows: int,
    schedule: Schedule,
) -> None:
    spec = job.spec

    def note(pointer: str, value: Any, given: bool, default: str) -> None:
        chosen[f"spec.{pointer}"] = Chosen(value, "given" if given else default)

    def has(model: Any, *fields: str) -> bool:
        return all(field in model.model_fields_set for field in fields)

    note("trial.settings.epochs", fixed["epochs"], "epochs" in spec.trial.settings,
         "default: the template's own")  # fmt: skip
    note("objective.metric", spec.objective.metric, has(spec.objective, "metric"), "default")
    note("objective.mode", spec.objective.mode, has(spec.objective, "mode"),
         "default: a loss or error is minimised, anything else maximised")  # fmt: skip
    note("subset.strategy", subset.strategy, has(spec.subset, "strategy"),
         "default: shuffled full data in slices, the arm to beat")  # fmt: skip
    exact = f"{rows:,} of {shape.n_train:,} rows"
    raised = rows > round(subset.fraction * shape.n_train)
    why = (
        f"raised to {exact}: at least four of the largest batches"
        if raised
        else f"default: {exact}"
    )
    note("subset.fraction", subset.fraction, has(spec.subset, "fraction") and not raised, why)
    if subset.encoder is not None:
        note("subset.encoder", subset.encoder, spec.subset.encoder is not None,
             f"default for {shape.kind} data")  # fmt: skip
    note("subset.select_every", subset.select_every, spec.subset.select_every is not None,
         subset.select_reason)  # fmt: skip
    note("search.type", spec.search.type, has(spec.search, "type"),
         "default: needs no finished trials, so rungs may be synchronous")  # fmt: skip
    note("search.seed", spec.search.seed, has(spec.search, "seed"), "default")
    note("scheduler.type", spec.scheduler.type, has(spec.scheduler, "type"),
         "default: the cheapest at equal regret (README)")  # fmt: skip
    for pointer, item in schedule.chosen.items():
        chosen[f"spec.{pointer}"] = item
    note("confirm.finish.decay", spec.confirm.finish.decay, has(spec.confirm, "finish"),
         "default: with a constant rate to the end the final ranking is noise")  # fmt: skip
    note("failure.max_failed_trials", spec.failure.max_failed_trials,
         has(spec.failure, "max_failed_trials"), "default")  # fmt: skip
    note("checkpoint.every_share", spec.checkpoint.every_share, has(spec.checkpoint, "every_share"),
         "default")  # fmt: skip
    note("parallelism", spec.parallelism, spec.parallelism is not None, "default: all free slots")


def _warn(
    warnings: list[str],
    job: TuneJob,
    plan: SearchPlan,
    subset: SubsetChoice,
    rows: int,
    largest: int,
    schedule: Schedule,
) -> None:
    if plan.scheduler == "successive_halving" and SEARCHERS[plan.search].sequential:
        warnings.append(
            f"search {plan.search} learns from finished trials, but the synchronous first rung "
            f"needs all {plan.trials} proposals before any is finished: only start-up draws are "
            "made. Use scheduler asha_promote with it, or search random or qmc."
        )
    steps = steps_at(plan.rungs[0], plan.table, largest)
    if steps < MIN_STEPS:
        warnings.append(
            f"a trial with batch {largest} makes only {steps} optimizer steps before the first "
            f"rung (share {plan.rungs[0].share:.3g}); below {MIN_STEPS} a model is untrained and "
            "its rank says nothing. Raise budget.price or the first of scheduler.shares."
        )
    asked = job.spec.budget.price
    if asked is not None and schedule.recipe is not None and asked > 1.5 * schedule.price:
        warnings.append(
            f"no recipe spends a price of {asked:g}: the dearest takes {schedule.price:.2f}, and "
            "the rest stays unspent. Give scheduler.shares and scheduler.keep to spend more"
        )
    if job.spec.search.type == "grid" and plan.trials < job.spec.budget.trials:
        warnings.append(f"the grid has only {plan.trials} configurations; trials is cut to that")
    if subset.strategy in ("random",) and plan.rungs[-1].share * plan.total_rows > 20 * rows:
        warnings.append(
            "one fixed random subset is walked more than 20 times in the search: it ranks worse "
            "than adaptive_random at equal cost"
        )


def _lines(
    plan: SearchPlan, smallest: int, largest: int, schedule: Schedule
) -> tuple[RungLine, ...]:
    lines = []
    for index, rung in enumerate(plan.rungs):
        lines.append(
            RungLine(
                asked=rung.asked,
                share=rung.share,
                rows=rung.rows,
                steps=(
                    steps_at(rung, plan.table, largest),
                    steps_at(rung, plan.table, smallest),
                ),
                trials=schedule.arrivals[index],
                keep=rung.keep,
                price=schedule.rung_prices[index],
            )
        )
    return tuple(lines)


__all__ = ["Planned", "make_plan", "source_of"]
