"""Who is confirmed, and what must be kept back for it."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest

from automata_svc.selection import STRATEGIES, FactoredGradients, Rows
from automata_svc.trials.types import PassTable, StrategyOrder
from automata_svc.trials.walk import Walk
from automata_svc.tuning import costing
from automata_svc.tuning.events import SearchClosed, SubsetReady
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.finalists import choose_finalists
from automata_svc.tuning.state import Move
from tests.trials.build import N_TRAIN, order
from tests.tuning.build import make_plan, standing


@pytest.mark.parametrize(("payable", "trials"), [(0.5, (0,)), (1.5, (0,)), (2.0, (0, 1))])
def test_as_many_are_confirmed_as_the_rest_of_the_budget_pays(
    payable: float, trials: tuple[int, ...]
) -> None:
    plan = make_plan(scheduler="asha_promote")
    each = costing.confirm_price(plan, plan.rungs[0].boundary)
    limit = costing.test_price(plan) + payable * each
    state = standing("asha_promote", 6, finalists=2, price_limit=limit)
    assert choose_finalists(state).trials == trials


def test_a_search_that_is_cut_short_confirms_its_best_alone() -> None:
    state = standing("successive_halving", 6, 3, finalists=2)
    assert choose_finalists(state).trials == (0, 1)
    state.closed = SearchClosed("budget: over", 1.0)
    assert (choose_finalists(state).trials, choose_finalists(state).reason) == (
        (0,),
        "budget: over",
    )


def test_of_those_ahead_at_a_lower_rung_only_the_standing_are_named() -> None:
    state = standing("asha", 4)
    for number in (2, 3):  # went on, and are not as good as 0 and 1 were below
        state.rungs[1].add(state.rungs[0].values[number])
        state.trials[number].rung = 2
    assert (choose_finalists(state).trials, choose_finalists(state).ahead) == ((2,), (0, 1))
    state.trials[0].move = Move("STOPPED", "guard", 1.0)
    assert choose_finalists(state).ahead == (1,)
    state.trials[1].values[0] = state.rungs[0].values[2]  # as good is not ahead
    assert choose_finalists(state).ahead == ()


def test_what_is_kept_back_confirms_every_finalist_of_the_last_rung_and_one_below() -> None:
    plan = make_plan(finalists=3)
    for rung, count in enumerate((1, 1, 3)):
        each = costing.confirm_price(plan, plan.rungs[rung].boundary)
        assert costing.finish_price(plan, rung) == pytest.approx(
            count * each + costing.test_price(plan)
        )
    assert costing.finish_price(make_plan(confirm=False), 2) == 0.0


def test_of_equal_values_in_a_confirmation_the_later_model_is_taken() -> None:
    state = standing("fifo", 1)
    trial = state.trials[0]
    trial.confirm_values = {
        b: {"val_accuracy": v} for b, v in ((5, 0.8), (6, 0.9), (7, 0.9), (8, 0.7))
    }
    assert state.best_confirmed(trial) == 7


def test_a_free_slot_goes_to_the_trial_that_is_furthest() -> None:
    state = standing("asha_promote", 4, 3, 1)
    state.ready.clear()  # where they were proposed
    for number in (3, 2, 1, 0):
        state.order(state.trials[number], "goes on")
    state.trials[3].phase = "confirm"
    state.order(state.trials[3], "confirmation")
    assert [heapq.heappop(state.ready)[1] for _ in range(5)] == [3, 0, 1, 2, 3]


def test_rows_that_an_encoder_looked_at_are_in_the_price() -> None:
    state = standing("fifo", 1)
    evolve(state, 2, 0.0, SubsetReady("a" * 64, False, 1.0, 3 * state.plan.total_rows))
    assert state.price == pytest.approx(1.0)


@pytest.mark.parametrize("pool", [2, 5])  # 5 times the subset are more rows than there are
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(("start", "end"), [(0, 8), (0, 1), (1, 3), (3, 5), (4, 8)])
def test_the_pools_a_search_is_to_pay_are_those_its_walk_looks_at(
    pool: int, every: int, start: int, end: int
) -> None:
    table = PassTable(4 * N_TRAIN, 40, 2)
    options = {"pool": pool}
    fields: dict[str, Any] = {"strategy": "automata", "strategy_options": options}
    plan = make_plan(n_train=N_TRAIN, epochs=4, table=table, select_every=every, **fields)
    rows = Rows(np.arange(N_TRAIN) % 4, 4)
    asked = order(8, table=table, strategy=None)
    walk = Walk(
        type(asked)(**{**vars(asked), "strategy": StrategyOrder("automata", options, every)}),
        STRATEGIES["automata"], rows, {}, 8,
    )  # fmt: skip
    rng = np.random.default_rng(0)

    def gradients(rows: Any) -> FactoredGradients:
        errors, inputs = rng.normal(size=(len(rows), 4)), rng.normal(size=(len(rows), 3))
        return FactoredGradients(errors.astype(np.float32), inputs.astype(np.float32))

    looked_at = [walk.rows_of(p, gradients).forward_rows for p in range(8)]
    values = sum(plan.eval_rows(rung) for rung in plan.rungs if start < rung.boundary <= end)
    stepped = table.rows_at(end) - table.rows_at(start)
    assert costing.search_price(plan, start, end) == pytest.approx(
        plan.price(stepped, sum(looked_at[start:end]) + values)
    )
