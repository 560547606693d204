"""From a job file to a SearchPlan: every default filled in with its reason, every mistake found at
once.

Starts nothing and runs nobody's code: templates are read, datasets are opened for their shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from automata_svc.datasets import Shape, Source, describe
from automata_svc.errors import AutomataError, NotFound, Problem, SpecError
from automata_svc.jobs import elsewhere
from automata_svc.jobs.bundles import Code, ProjectBundles, pack
from automata_svc.jobs.parameters import check_parameters, largest_batch, smallest_batch
from automata_svc.jobs.protocol import Chosen, RungLine
from automata_svc.jobs.recipes import DEFAULT_PRICE
from automata_svc.jobs.rungs import MIN_STEPS, pass_table, steps_at, subset_rows
from automata_svc.jobs.runtime_env import check_runtime_env
from automata_svc.jobs.schedule import Schedule, choose_schedule
from automata_svc.jobs.subsets import SubsetChoice, choose_subset
from automata_svc.settings import Settings
from automata_svc.spec.archive import Packed
from automata_svc.spec.bundle import check_ref, looks_like_ref
from automata_svc.spec.job import ExternalSpec, TuneJob
from automata_svc.spec.space import MAX_GRID, Space, compile_space
from automata_svc.trials.templates import Template, find_template
from automata_svc.trials.types import PassTable
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
    code: Code | Packed | None = None  # what the template may import from; packed: still to be kept


def make_plan(
    job: TuneJob,
    settings: Settings,
    job_id: str = "job_plan",
    source: str = "",
    bundles: ProjectBundles | None = None,
) -> Planned:
    """Checks a job against its template, dataset and strategy, and decides what can be decided.

    Args:
        bundles: what was pushed to the job's project; None: nothing was.

    Raises:
        SpecError: with every mistake that was found, each with its pointer into the job file.
    """
    problems: list[Problem] = []
    external = job.spec.trial.external
    space = compile_space(job.spec.model_dump(mode="json")["space"])
    parts = (
        _here(job, settings, space, bundles, problems)
        if external is None
        else _elsewhere(job, external, space, problems)
    )
    trials = _trials(job, space, problems)
    if parts is None or problems:
        raise SpecError(problems, source)
    chosen: dict[str, Chosen] = {}
    warnings: list[str] = []
    base = _base(job, job_id, parts, trials)

    def with_rungs(first_share: float, **fields: Any) -> SearchPlan:
        return SearchPlan(**base, table=parts.table(first_share), **fields)

    schedule = choose_schedule(job, trials, parts.subset, with_rungs, parts.batches[0], problems)
    if schedule is None or problems:
        raise SpecError(problems, source)
    plan = schedule.plan
    _record(chosen, job, schedule)
    if external is not None:
        elsewhere.record(chosen, job, external)
    else:
        _record_training(chosen, job, parts)
    _warn(warnings, job, plan, parts, schedule)
    return Planned(
        job, plan, parts.template, parts.shape, schedule, _lines(plan, parts, schedule), chosen,
        tuple(warnings), parts.code,
    )  # fmt: skip


@dataclass(frozen=True)
class _Parts:
    """What is trained on what: by a template of ours, or elsewhere."""

    template: Template
    shape: Shape
    fixed: Mapping[str, Any]  # parameters that are not searched
    epochs: int
    subset: SubsetChoice
    rows: int  # of a subset
    batches: tuple[int, int]  # the smallest and the largest; (0, 0): nobody's business
    table: Callable[[float], PassTable]  # given the share of the first rung
    code: Code | Packed | None = None


def _here(
    job: TuneJob,
    settings: Settings,
    space: Space,
    bundles: ProjectBundles | None,
    problems: list[Problem],
) -> _Parts | None:
    template = _template(job, settings, bundles, problems)
    shape = _shape(job, settings, bundles, problems)
    if template is not None and shape is not None and template.kind not in (None, shape.kind):
        needs = f"template '{template.name}' needs {template.kind} data"
        problems.append(Problem("spec.trial.dataset", f"{needs}; '{shape.name}' is {shape.kind}"))
    code = _code(job, bundles, problems)
    problems.extend(check_runtime_env(job.spec.trial.runtime_env, settings))
    fixed: dict[str, Any] = {}
    if template is not None:
        fixed = check_parameters(job, template, space, problems)
    _check_metric(job, problems)
    subset = choose_subset(job, shape, problems)
    if template is None or shape is None or subset is None or problems:
        return None
    epochs = int(fixed["epochs"])
    smallest, largest = smallest_batch(space, fixed), largest_batch(space, fixed)
    rows = subset_rows(subset.fraction, shape.n_train, largest)
    total = epochs * shape.n_train
    return _Parts(
        template, shape, fixed, epochs, subset, rows, (smallest, largest),
        lambda first_share: pass_table(total, rows, first_share, largest), code,
    )  # fmt: skip


def _elsewhere(
    job: TuneJob, external: ExternalSpec, space: Space, problems: list[Problem]
) -> _Parts:
    fixed = elsewhere.fixed_parameters(job, space, problems)
    elsewhere.check_sections(job, problems)
    if job.spec.objective.metric.startswith("test_"):  # else it is called what its owner calls it
        _check_metric(job, problems)
    table = elsewhere.pass_table(external)
    return _Parts(
        elsewhere.TEMPLATE, elsewhere.shape(external), fixed, external.passes, elsewhere.SUBSET,
        table.subset_rows, (0, 0), lambda first_share: table,
    )  # fmt: skip


def source_of(job: TuneJob) -> Source:
    """The dataset a job names, as the datasets package asks for it."""
    dataset = job.spec.trial.dataset
    if dataset is None:
        raise SpecError(Problem("spec.trial.dataset", f"is not there: {elsewhere.ELSEWHERE}"))
    return Source(
        name=dataset.name,
        path=dataset.path,
        target=dataset.target,
        test=dataset.test,
        val=dataset.val,
    )


#
# --------------------------------------------------------------------------------------------------


def _template(
    job: TuneJob, settings: Settings, bundles: ProjectBundles | None, problems: list[Problem]
) -> Template | None:
    asked = job.spec.trial.template or ""
    try:
        if looks_like_ref(asked):
            return _pushed(bundles, asked).template(asked)
        return find_template(asked, settings)
    except AutomataError as error:
        problems.extend(_pointed(error, "spec.trial.template"))
        return None


def _shape(
    job: TuneJob, settings: Settings, bundles: ProjectBundles | None, problems: list[Problem]
) -> Shape | None:
    source = source_of(job)
    try:
        if source.name is not None and looks_like_ref(source.name):
            source = _pushed(bundles, source.name).source(source)
        return describe(source, settings)
    except AutomataError as error:
        problems.extend(_pointed(error, "spec.trial.dataset"))
        return None


def _code(
    job: TuneJob, bundles: ProjectBundles | None, problems: list[Problem]
) -> Code | Packed | None:
    asked = job.spec.trial.code
    if asked is None:
        return None
    try:
        if looks_like_ref(asked):
            return _pushed(bundles, asked).code(asked)
        return pack(asked)
    except AutomataError as error:
        problems.extend(_pointed(error, "spec.trial.code"))
        return None


def _pushed(bundles: ProjectBundles | None, text: str) -> ProjectBundles:
    """The bundles to look in.

    Raises:
        NotFound: there are none.
        SpecError: the text is no name@sha256.
    """
    ref = check_ref(text)
    if bundles is None:
        raise NotFound(f"{ref.short} was pushed nowhere that is looked into here")
    return bundles


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
    size = space.grid_size or asked
    if size > MAX_GRID:
        said = f"a grid of {size:,} configurations is not listed, at most {MAX_GRID:,} are"
        problems.append(Problem("spec.space", f"{said}; take fewer values, or random or qmc"))
    return min(asked, size)


def _base(job: TuneJob, job_id: str, parts: _Parts, trials: int) -> dict[str, Any]:
    shape, subset, external = parts.shape, parts.subset, job.spec.trial.external
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
        "epochs": parts.epochs,
        "trials": trials,
        "parallelism": spec.parallelism,
        "search": spec.search.type,
        "startup_trials": spec.search.startup_trials,
        "start_points": tuple(dict(point) for point in spec.search.start_points),
        "space": spec.model_dump(mode="json")["space"],
        "fixed": parts.fixed,
        "guards": tuple(
            {k: v for k, v in guard.model_dump().items() if v is not None} for guard in spec.guards
        ),
        "strategy": subset.strategy,
        "fraction": subset.fraction,
        "strategy_options": subset.options,
        "select_every": subset.select_every,
        "encoder": subset.encoder,
        "scope": spec.subset.scope,
        "confirm": spec.confirm.enabled and external is None,
        "resume": spec.confirm.resume,
        "finish": spec.confirm.finish.decay,
        # without a confirmation the weights as they are get delivered, and their value with them
        "average": spec.scheduler.average and spec.confirm.enabled and external is None,
        "checkpoint_every": spec.checkpoint.every_share,
        "largest_batch": max(1, parts.batches[1]),
        "wall_clock_s": spec.budget.wall_clock,
        "goal": spec.budget.goal,
        "no_improve_trials": spec.budget.no_improve_trials,
        "trial_retries": spec.failure.trial_retries,
        "max_failed_trials": spec.failure.max_failed_trials,
        "cpus": spec.trial.resources.cpu,
        "gpus": spec.trial.resources.gpu,
        "client_timeout_s": None if external is None else external.timeout,
    }


def _record(chosen: dict[str, Chosen], job: TuneJob, schedule: Schedule) -> None:
    """What is chosen for every job, wherever it is trained."""
    spec, note = job.spec, _noting(chosen)
    note("objective.metric", spec.objective.metric, _has(spec.objective, "metric"), "default")
    note("objective.mode", spec.objective.mode, _has(spec.objective, "mode"),
         "default: a loss or error is minimised, anything else maximised")  # fmt: skip
    note("search.type", spec.search.type, _has(spec.search, "type"),
         "default: needs no finished trials, so rungs may be synchronous")  # fmt: skip
    note("search.seed", spec.search.seed, _has(spec.search, "seed"), "default")
    note("scheduler.type", spec.scheduler.type, _has(spec.scheduler, "type"),
         "default: the cheapest at equal regret (README)")  # fmt: skip
    for pointer, item in schedule.chosen.items():
        chosen[f"spec.{pointer}"] = item
    note("failure.max_failed_trials", spec.failure.max_failed_trials,
         _has(spec.failure, "max_failed_trials"), "default")  # fmt: skip
    note("parallelism", spec.parallelism, spec.parallelism is not None, "default: all free slots")


def _record_training(chosen: dict[str, Chosen], job: TuneJob, parts: _Parts) -> None:
    """What is chosen where a template of ours is trained on rows of ours."""
    spec, note, subset, shape = job.spec, _noting(chosen), parts.subset, parts.shape
    note("trial.settings.epochs", parts.epochs, "epochs" in spec.trial.settings,
         "default: the template's own")  # fmt: skip
    if isinstance(parts.code, Packed):
        chosen["spec.trial.code"] = Chosen(spec.trial.code, _packed(parts.code))
    note("subset.strategy", subset.strategy, _has(spec.subset, "strategy"),
         "default: shuffled full data in slices, the arm to beat")  # fmt: skip
    exact = f"{parts.rows:,} of {shape.n_train:,} rows"
    raised = parts.rows > round(subset.fraction * shape.n_train)
    why = (
        f"raised to {exact}: at least four of the largest batches"
        if raised
        else f"default: {exact}"
    )
    note("subset.fraction", subset.fraction, _has(spec.subset, "fraction") and not raised, why)
    if subset.encoder is not None:
        note("subset.encoder", subset.encoder, spec.subset.encoder is not None,
             f"default for {shape.kind} data")  # fmt: skip
    note("subset.select_every", subset.select_every, spec.subset.select_every is not None,
         subset.select_reason)  # fmt: skip
    if spec.confirm.enabled:
        note("scheduler.average", spec.scheduler.average, _has(spec.scheduler, "average"),
             "default: a high learning rate's own value says little before the finish",
        )  # fmt: skip
    else:
        note("scheduler.average", False, False, "nothing is confirmed: weights get delivered as is")
    note("confirm.finish.decay", spec.confirm.finish.decay, _has(spec.confirm, "finish"),
         "default: with a constant rate to the end the final ranking is noise")  # fmt: skip
    note("checkpoint.every_share", spec.checkpoint.every_share,
         _has(spec.checkpoint, "every_share"), "default")  # fmt: skip


def _packed(code: Packed) -> str:
    left = code.left_out
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    out = f"; left out: {', '.join(left[:5])}{more}" if left else ""
    return f"given: {len(code.files)} files, {len(code.data):,} bytes packed{out}"


def _noting(chosen: dict[str, Chosen]) -> Callable[[str, Any, bool, str], None]:
    def note(pointer: str, value: Any, given: bool, default: str) -> None:
        chosen[f"spec.{pointer}"] = Chosen(value, "given" if given else default)

    return note


def _has(model: BaseModel, field: str) -> bool:
    return field in model.model_fields_set


def _warn(
    warnings: list[str],
    job: TuneJob,
    plan: SearchPlan,
    parts: _Parts,
    schedule: Schedule,
) -> None:
    smallest, _ = parts.batches
    if plan.scheduler == "successive_halving" and SEARCHERS[plan.search].sequential:
        warnings.append(
            f"search {plan.search} learns from finished trials, but the synchronous first rung "
            f"needs all {plan.trials} proposals before any is finished: only start-up draws are "
            "made. Use scheduler asha_promote with it, or search random or qmc."
        )
    steps = steps_at(plan.rungs[0], plan.table, smallest) if smallest else MIN_STEPS
    if steps < MIN_STEPS:
        warnings.append(
            f"a trial with batch {smallest} makes only {steps} optimizer steps before the first "
            f"rung (share {plan.rungs[0].share:.3g}); below {MIN_STEPS} a model is untrained and "
            "its rank says nothing. Raise budget.price or the first of scheduler.shares."
        )
    asked, limit = job.spec.budget.price, plan.price_limit
    if (
        asked is None
        and schedule.recipe is not None
        and limit is not None
        and limit > DEFAULT_PRICE
    ):
        warnings.append(
            f"the default price {DEFAULT_PRICE:g} pays no recipe for {plan.trials} trials here: "
            f"this job takes {schedule.price:.2f} full trainings. Lower budget.trials, or give the "
            "budget.price that it is worth"
        )
    if asked is not None and schedule.recipe is not None and asked > 1.5 * schedule.price:
        warnings.append(
            f"no recipe spends a price of {asked:g}: the dearest takes {schedule.price:.2f}, and "
            "the rest stays unspent. Give scheduler.shares and scheduler.keep to spend more"
        )
    if job.spec.search.type == "grid" and plan.trials < job.spec.budget.trials:
        warnings.append(f"the grid has only {plan.trials} configurations; trials is cut to that")
    walked = plan.rungs[-1].share * plan.total_rows
    if parts.subset.strategy in ("random",) and walked > 20 * parts.rows:
        warnings.append(
            "one fixed random subset is walked more than 20 times in the search: it ranks worse "
            "than adaptive_random at equal cost"
        )


def _lines(plan: SearchPlan, parts: _Parts, schedule: Schedule) -> tuple[RungLine, ...]:
    smallest, largest = parts.batches
    lines = []
    for index, rung in enumerate(plan.rungs):
        lines.append(
            RungLine(
                asked=rung.asked,
                share=rung.share,
                rows=rung.rows,
                steps=(
                    steps_at(rung, plan.table, largest) if largest else 0,
                    steps_at(rung, plan.table, smallest) if smallest else 0,
                ),
                trials=schedule.arrivals[index],
                keep=rung.keep,
                price=schedule.rung_prices[index],
            )
        )
    return tuple(lines)


__all__ = ["Planned", "make_plan", "source_of"]
