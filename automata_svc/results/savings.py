"""What the job would have cost in two other ways, named and marked as estimates.

no_early_stopping   every proposed trial trained to share 1 and evaluated by the same finish
whole_epoch_rungs   the same trials arrive at the same rungs, which are rounded up to whole epochs;
                    every epoch is evaluated on the whole validation split, as most trainers do
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState


@dataclass(frozen=True)
class Counterfactual:
    """The same job done in another way."""

    name: str
    meaning: str
    train_rows: int
    forward_rows: int
    price: float
    times: float | None  # its price / the job's; None while the job has cost nothing
    seconds: float | None  # at the speed this job measured; None where it measured none


def savings(state: JobState) -> tuple[Counterfactual, ...]:
    """Both counterfactuals, for the trials that were proposed so far."""
    return (_no_early_stopping(state), _whole_epoch_rungs(state))


def as_mapping(found: tuple[Counterfactual, ...]) -> Mapping[str, Any]:
    """The `savings` of the JSON result."""
    return {
        "estimated": True,
        **{other.name: {k: v for k, v in vars(other).items() if k != "name"} for other in found},
    }


def _no_early_stopping(state: JobState) -> Counterfactual:
    plan, count = state.plan, len(state.trials)
    each = len(plan.confirm_values(plan.confirm_table(0))) if plan.confirm else 1
    return _priced(
        state,
        "no_early_stopping",
        f"all {count} trials trained to share 1, evaluated by the same finish",
        count * plan.total_rows,
        count * each * plan.n_val + _test_rows(plan),
    )


def _whole_epoch_rungs(state: JobState) -> Counterfactual:
    plan = state.plan
    trained, epochs_before = 0, 0
    for rung, ranking in zip(plan.rungs, state.rungs, strict=True):
        epochs = min(plan.epochs, max(1, math.ceil(rung.share * plan.epochs - 1e-9)))
        trained += len(ranking) * (epochs - epochs_before)
        epochs_before = epochs
    if state.confirm is not None:
        start = epochs_before if plan.resume else 0
        trained += len(state.confirm.trials) * (plan.epochs - start)
    return _priced(
        state,
        "whole_epoch_rungs",
        "the same trials at the same rungs, rounded up to whole epochs, each epoch evaluated",
        trained * plan.n_train,
        trained * plan.n_val + (_test_rows(plan) if state.confirm is not None else 0),
    )


def _test_rows(plan: SearchPlan) -> int:
    return plan.n_val + plan.n_test if plan.confirm else 0


def _priced(
    state: JobState, name: str, meaning: str, train_rows: int, forward_rows: int
) -> Counterfactual:
    price = state.plan.price(train_rows, forward_rows)
    times = price / state.price if state.price > 0 else None
    cost = state.cost
    seconds: float | None = None
    if cost.train_rows and cost.train_seconds > 0:
        seconds = cost.train_seconds * train_rows / cost.train_rows
        if cost.forward_rows and cost.eval_seconds > 0:
            seconds += cost.eval_seconds * forward_rows / cost.forward_rows
    return Counterfactual(name, meaning, train_rows, forward_rows, price, times, seconds)
