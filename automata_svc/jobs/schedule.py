"""Rungs, keeps and the price of a job: from the price asked for, or from what was written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from automata_svc.errors import Problem
from automata_svc.jobs.protocol import Chosen
from automata_svc.jobs.recipes import DEFAULT_PRICE, RECIPES, Expected, Recipe
from automata_svc.jobs.rungs import MIN_STEPS, Asked, ask, land, steps_at
from automata_svc.jobs.subsets import SubsetChoice
from automata_svc.spec.job import TuneJob
from automata_svc.tuning.costing import SLACK, confirm_price, finish_price, search_price, test_price
from automata_svc.tuning.plan import SearchPlan

DEFAULT_ETA = 3.0  # cited: the usual reduction factor of (A)SHA
DEFAULT_GRACE = 0.01  # measured: at 1 % of a training values begin to rank (price of tuning)
DEFAULT_MAX_SHARE = 0.32  # last rung of the asynchronous schedulers where nothing is given
# guess: recipes were chosen with rungs moved by √2 either way; MIN_STEPS moves letter's by 2
NEAR = 2.05
WHOLE = Asked(1.0, 1)  # the last rung where no confirmation can train the winner on

# Given a first share and the remaining fields, the plan with its pass table.
WithRungs = Callable[..., SearchPlan]


@dataclass(frozen=True)
class Schedule:
    """A plan with its rungs, and what it will cost if nothing fails."""

    plan: SearchPlan
    arrivals: tuple[int, ...]  # trials expected at each rung
    rung_prices: tuple[float, ...]
    confirm: float
    recipe: str | None
    expected: Expected | None
    chosen: dict[str, Chosen]
    raised: bool = False  # the first rung was moved up, towards MIN_STEPS optimizer steps

    @property
    def price(self) -> float:
        return sum(self.rung_prices) + self.confirm


def choose_schedule(
    job: TuneJob,
    trials: int,
    subset: SubsetChoice,
    with_rungs: WithRungs,
    smallest_batch: int,
    problems: list[Problem],
) -> Schedule | None:
    """The rung table of a job; explicit shares and keeps win over the price."""
    scheduler = job.spec.scheduler
    if scheduler.type == "successive_halving" and scheduler.shares is None:
        return _from_price(job, trials, with_rungs, smallest_batch, problems)
    schedule = _EXPLICIT[scheduler.type](job, trials, subset, with_rungs)
    last, top_k = schedule.plan.rungs[-1].keep, job.spec.confirm.top_k
    if last is not None and top_k is not None and top_k > last:
        message = f"{top_k} are to be confirmed, but the last of scheduler.keep is {last}"
        problems.append(Problem("spec.confirm.top_k", message))
        return None
    limit = job.spec.budget.price
    floor = _floor(schedule)
    if limit is not None and limit + SLACK < floor:
        problems.append(
            Problem(
                "spec.budget.price",
                f"{limit:g} cannot pay one rung and the confirmation, which take {floor:.3g} with "
                f"these rungs; raise the price or lower scheduler.shares",
            )
        )
        return None
    return schedule


# ---- from the price ------------------------------------------------------------------------------


def _from_price(
    job: TuneJob,
    trials: int,
    with_rungs: WithRungs,
    smallest_batch: int,
    problems: list[Problem],
) -> Schedule | None:
    given = job.spec.budget.price
    asked = DEFAULT_PRICE if given is None else given
    built = [_build(job, recipe, trials, with_rungs, smallest_batch) for recipe in RECIPES.values()]
    payable = [schedule for schedule in built if schedule.price <= asked + SLACK]
    if not payable:
        cheapest = min(built, key=lambda schedule: schedule.price)
        if given is None:
            # The default is a wish, not a limit somebody set: take the nearest and say so.
            schedule = _limited(cheapest, math.ceil(cheapest.price * 100) / 100)
            return _explained(schedule, f"default {DEFAULT_PRICE:g} cannot pay any recipe here")
        problems.append(
            Problem(
                "spec.budget.price",
                f"no recipe for {trials} trials on this dataset is as cheap as {asked:g}; the "
                f"cheapest takes {cheapest.price:.3f} (recipe {cheapest.recipe}). Raise the price "
                f"to {math.ceil(cheapest.price * 100) / 100:g}, or lower budget.trials",
            )
        )
        return None
    trained = [
        raised
        for schedule in built
        if (raised := _raised(job, schedule, trials, with_rungs, smallest_batch)).price
        <= asked + SLACK
    ]
    # The recipes are in order of quality; one whose first rung ranks trained models comes first.
    best = trained[-1] if trained else max(payable, key=lambda schedule: schedule.price)
    why = "given" if given is not None else "default"
    return _explained(_limited(best, asked), f"{why}: price {asked:g}")


def _build(
    job: TuneJob,
    recipe: Recipe,
    trials: int,
    with_rungs: WithRungs,
    batch: int,
    first_share: float | None = None,
) -> Schedule:
    shares = list(recipe.shares)
    if first_share is not None:
        shares = [max(share, first_share) for share in shares]
    keep = recipe.keep_of(trials)
    top_k = job.spec.confirm.top_k
    if top_k is not None:  # as many as are asked for must come through the last rung
        keep = (*(max(count, top_k) for count in keep[:-1]), top_k)
    external = job.spec.trial.external is not None
    rows = [None if external else recipe.first_eval_rows] + [None] * (len(shares) - 1)
    asked = ask(shares, keep, rows, job.spec.scheduler.rank_by)
    plan = _plan(job, with_rungs, [*asked, WHOLE] if external else asked, keep[-1])
    schedule = _priced(plan, _halving_arrivals(plan, trials))
    measured = not external and _is_near(plan, recipe, batch)
    return replace(schedule, recipe=recipe.name, expected=recipe.expected if measured else None)


def _is_near(plan: SearchPlan, recipe: Recipe, batch: int) -> bool:
    """Whether a plan's rungs are the recipe's, as measured.

    None fell together, none landed far up, and the first ranks models that are trained.
    """
    rungs = plan.rungs
    if len(rungs) != len(recipe.shares) or (
        batch and steps_at(rungs[0], plan.table, batch) < MIN_STEPS
    ):
        return False
    return all(rung.share <= NEAR * own for rung, own in zip(rungs, recipe.shares, strict=True))


def _raised(
    job: TuneJob,
    schedule: Schedule,
    trials: int,
    with_rungs: WithRungs,
    batch: int,
) -> Schedule:
    """The recipe with its first rung moved up to MIN_STEPS steps of `batch`.

    Of the smallest one: with averaged weights, which the loss ranks, moving it up for larger ones
    bought nothing on any set measured.
    """
    plan = schedule.plan
    first = plan.rungs[0]
    if not batch or steps_at(first, plan.table, batch) >= MIN_STEPS or schedule.recipe is None:
        return schedule
    wanted = min(1.0, MIN_STEPS * batch / plan.total_rows)
    share = math.ceil(wanted * 1e5) / 1e5
    if share <= first.asked:
        return schedule
    raised = _build(job, RECIPES[schedule.recipe], trials, with_rungs, batch, first_share=share)
    return replace(raised, raised=True)


def _explained(schedule: Schedule, why: str) -> Schedule:
    plan = schedule.plan
    note = f"from the price ({why}): recipe {schedule.recipe}"
    moved = f"; its first rung moved up, towards {MIN_STEPS} steps" if schedule.raised else ""
    chosen = {
        "scheduler.shares": Chosen([rung.asked for rung in plan.rungs], note + moved),
        "scheduler.keep": Chosen([rung.keep for rung in plan.rungs], note),
        "scheduler.eval_rows": Chosen([rung.eval_rows or None for rung in plan.rungs], note),
        "scheduler.rank_by": Chosen(list(plan.rank_by), _rank_reason(plan)),
        "confirm.top_k": Chosen(plan.finalists, note),
        "budget.price": Chosen(plan.price_limit, why),
    }
    if schedule.plan.is_external:  # what values are taken on, and what follows, is not ours
        del chosen["scheduler.eval_rows"], chosen["confirm.top_k"]
    return replace(schedule, chosen=chosen)


def _rank_reason(plan: SearchPlan) -> str:
    both = "the better of two ranks is near the best on every set measured"
    if plan.rungs[0].rank_by is None:
        return both
    return f"{both}; at rung 1 the loss alone: an accuracy on so few rows says little"


def _limited(schedule: Schedule, limit: float) -> Schedule:
    return replace(schedule, plan=replace(schedule.plan, price_limit=max(limit, schedule.price)))


# ---- written out ---------------------------------------------------------------------------------


def _halving(job: TuneJob, trials: int, subset: SubsetChoice, with_rungs: WithRungs) -> Schedule:
    spec = job.spec.scheduler
    shares = spec.shares or ()
    keep = spec.keep or _geometric(trials, len(shares), spec.reduction_factor or DEFAULT_ETA)
    rows = spec.eval_rows or (None,) * len(shares)
    asked = ask(shares, keep, rows, spec.rank_by)
    plan = _plan(job, with_rungs, asked, job.spec.confirm.top_k or keep[-1])
    return _written(job, _priced(plan, _halving_arrivals(plan, trials)))


def _fifo(job: TuneJob, trials: int, subset: SubsetChoice, with_rungs: WithRungs) -> Schedule:
    spec = job.spec.scheduler
    share = spec.max_share or subset.fraction
    plan = _plan(job, with_rungs, [Asked(share, None)], job.spec.confirm.top_k or 1)
    return _written(job, _priced(plan, (trials,)))


def _asynchronous(
    job: TuneJob, trials: int, subset: SubsetChoice, with_rungs: WithRungs
) -> Schedule:
    spec = job.spec.scheduler
    eta = spec.reduction_factor or DEFAULT_ETA
    if spec.shares is not None:
        shares = list(spec.shares)
    else:
        grace, top = spec.grace_share or DEFAULT_GRACE, spec.max_share or _default_top(job)
        shares = [grace]
        while shares[-1] * eta < top * (1 - 1e-9):
            shares.append(shares[-1] * eta)
        shares.append(max(top, grace))
        shares = sorted(set(shares))
    rows = spec.eval_rows or (None,) * len(shares)
    asked = ask(shares, [None] * len(shares), rows, spec.rank_by)
    plan = _plan(job, with_rungs, asked, job.spec.confirm.top_k or 1)
    arrivals = [trials]
    for _ in plan.rungs[1:]:
        arrivals.append(max(1, math.ceil(arrivals[-1] / eta)))
    return _written(job, _priced(plan, tuple(arrivals)))


_EXPLICIT = {
    "successive_halving": _halving,
    "fifo": _fifo,
    "asha": _asynchronous,
    "asha_promote": _asynchronous,
}


def _written(job: TuneJob, schedule: Schedule) -> Schedule:
    spec, plan = job.spec.scheduler, schedule.plan
    limit = job.spec.budget.price
    given = spec.shares is not None or spec.max_share is not None

    def why(is_given: bool, default: str) -> str:
        return "given" if is_given else default

    chosen = {
        "scheduler.shares": Chosen(
            [rung.asked for rung in plan.rungs],
            why(given, "default: the fraction, `epochs` walks over the subset")
            if plan.scheduler == "fifo"
            else why(given, f"default: from {DEFAULT_GRACE:g} by η to {_default_top(job):g}"),
        ),
        "scheduler.rank_by": Chosen(list(plan.rank_by), "default"),
        "confirm.top_k": Chosen(plan.finalists, why(job.spec.confirm.top_k is not None, "default")),
        "budget.price": Chosen(limit, why(limit is not None, "no limit: the rungs are given")),
    }
    if plan.scheduler == "successive_halving":
        chosen["scheduler.keep"] = Chosen(
            [rung.keep for rung in plan.rungs], why(spec.keep is not None, "default: by η")
        )
    elif plan.scheduler != "fifo":
        chosen["scheduler.reduction_factor"] = Chosen(
            plan.reduction_factor, why(spec.reduction_factor is not None, "default")
        )
    if plan.is_external:
        del chosen["confirm.top_k"]
    return replace(schedule, plan=replace(plan, price_limit=limit), chosen=chosen)


# ---- shared --------------------------------------------------------------------------------------


def _default_top(job: TuneJob) -> float:
    return DEFAULT_MAX_SHARE if job.spec.trial.external is None else WHOLE.share


def _plan(
    job: TuneJob, with_rungs: WithRungs, asked: Sequence[Asked], finalists: int
) -> SearchPlan:
    fields: dict[str, Any] = {
        "scheduler": job.spec.scheduler.type,
        "reduction_factor": job.spec.scheduler.reduction_factor or DEFAULT_ETA,
        "finalists": finalists,
    }
    plan = with_rungs(asked[0].share, rungs=(), **fields)
    return replace(plan, rungs=land(asked, plan.table))


def _priced(plan: SearchPlan, arrivals: tuple[int, ...]) -> Schedule:
    starts = (0, *(rung.boundary for rung in plan.rungs[:-1]))
    prices = tuple(
        count * search_price(plan, start, rung.boundary)
        for count, start, rung in zip(arrivals, starts, plan.rungs, strict=True)
    )
    confirm = 0.0
    if plan.confirm:
        count = min(plan.finalists, arrivals[-1])
        confirm = count * confirm_price(plan, plan.rungs[-1].boundary) + test_price(plan)
    return Schedule(plan, arrivals, prices, confirm, None, None, {})


def _halving_arrivals(plan: SearchPlan, trials: int) -> tuple[int, ...]:
    arrivals, count = [], trials
    for rung in plan.rungs:
        arrivals.append(count)
        count = min(count, rung.keep or 1)
    return tuple(arrivals)


def _geometric(trials: int, rungs: int, eta: float) -> tuple[int, ...]:
    return tuple(max(1, round(trials / eta ** (i + 1))) for i in range(rungs))


def _floor(schedule: Schedule) -> float:
    """One trial at the first rung, and the confirmation from there."""
    plan = schedule.plan
    first = plan.rungs[0].boundary
    return search_price(plan, 0, first) + finish_price(plan, 0)
