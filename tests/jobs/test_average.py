"""Where a job looks at averaged weights, and what ranks its first rung."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from automata_svc.results.why import why
from automata_svc.trials.types import SegmentOrder
from automata_svc.tuning.plan import SearchPlan
from tests.jobs.test_elsewhere import mistakes
from tests.jobs.test_elsewhere import planned as elsewhere
from tests.jobs.test_planner import minimal
from tests.tuning.build import PlantedCurves, make_plan, run_simulated

# So long that the first rung stands alone; on digits' 50 epochs it falls together with the second.
LONG = {"template": "tabular_mlp", "dataset": "digits", "settings": {"epochs": 400}}


def plan_of(**spec: Any) -> SearchPlan:
    return minimal(**spec).plan


def test_values_in_the_search_are_those_of_averaged_weights_and_the_plan_says_so():
    planned = minimal()
    assert planned.plan.average
    assert "finish" in planned.chosen["spec.scheduler.average"].reason


@pytest.mark.parametrize(
    "spec", [{"scheduler": {"average": False}}, {"confirm": {"enabled": False}}]
)
def test_weights_are_looked_at_as_they_are_where_that_is_asked_or_they_are_delivered(spec):
    planned = minimal(**spec)
    assert not planned.plan.average
    assert planned.chosen["spec.scheduler.average"].value is False


def test_a_first_rung_ranks_by_the_loss_and_the_others_by_the_better_of_two():
    plan = plan_of(trial=LONG)
    assert plan.ranks_by(0) == ("loss",)
    assert {plan.ranks_by(number) for number in range(1, len(plan.rungs))} == {("metric", "loss")}


def test_a_job_that_ranks_by_its_metric_does_so_at_every_rung():
    plan = plan_of(trial=LONG, scheduler={"rank_by": ["metric"]})
    assert {plan.ranks_by(number) for number in range(len(plan.rungs))} == {("metric",)}


@pytest.mark.parametrize("scheduler", ["successive_halving", "asha", "asha_promote"])
def test_rungs_that_are_written_out_rank_as_those_from_a_price(scheduler):
    rows = {"shares": [0.01, 0.1], "eval_rows": [100, None]}
    plan = plan_of(scheduler={"type": scheduler, **rows})
    assert [plan.ranks_by(number) for number in (0, 1)] == [("loss",), ("metric", "loss")]


def test_a_plan_keeps_what_ranks_at_its_rungs_through_its_storage():
    plan = plan_of(trial=LONG)
    assert SearchPlan.from_json(plan.to_json()) == plan
    old = plan.to_json()
    del old["average"]
    for rung in old["rungs"]:
        del rung["rank_by"]
    again = SearchPlan.from_json(old)
    assert not again.average and again.ranks_by(0) == ("metric", "loss")


def test_a_job_trained_elsewhere_is_told_that_its_clients_average():
    found = mistakes(scheduler={"average": True})
    assert "by whoever trains" in found["spec.scheduler.average"]
    assert not elsewhere().plan.average
    assert elsewhere().plan.ranks_by(0) == ("metric", "loss")


class Disagreeing(PlantedCurves):
    """A trial's loss says the opposite of its accuracy."""

    def values(self, order: SegmentOrder, share: float) -> dict[str, Any]:
        found = dict(super().values(order, share))
        return {**found, "val_loss": found["val_accuracy"]}


def test_each_rung_of_a_job_ranks_by_its_own_word():
    plan = make_plan(trials=9, keep=(4, 2, 1), rank_by=("metric",))
    rungs = (replace(plan.rungs[0], rank_by=("loss",)), *plan.rungs[1:])
    state = run_simulated(replace(plan, rungs=rungs), Disagreeing()).state
    first, second = state.rungs[0].values, state.rungs[1].values
    worst = sorted(first, key=lambda trial: first[trial].metric)[:4]
    assert sorted(second) == sorted(worst)  # the lowest losses, so the lowest accuracies
    best = sorted(second, key=lambda trial: -second[trial].metric)[:2]
    assert sorted(state.rungs[2].values) == sorted(best)
    cut = next(trial.number for trial in state.trials if len(trial.values) == 1)
    assert "val_loss" in why(state, cut).verdict
    assert "val_accuracy" not in why(state, cut).verdict


def test_orders_ask_for_averages_in_the_search_alone():
    orders: list[SegmentOrder] = []

    class Noting(PlantedCurves):
        def values(self, order: SegmentOrder, share: float) -> Any:
            orders.append(order)
            return super().values(order, share)

    run_simulated(make_plan(average=True), Noting())
    assert {order.average for order in orders if order.phase == "search"} == {True}
    assert {order.average for order in orders if order.phase != "search"} == {False}
