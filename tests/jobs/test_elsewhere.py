"""Plans of jobs whose trials are trained elsewhere: no template, no subset, no confirmation."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from automata_svc.errors import SpecError
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.planner import Planned, make_plan
from automata_svc.jobs.protocol import PlanView
from automata_svc.settings import Settings
from automata_svc.spec.load import parse_job
from automata_svc.tuning.plan import SearchPlan
from tests.jobs.clients import job_data

NOWHERE = Settings.from_env({"AUTOMATA_HOME": "/nowhere"})


def planned(**spec: Any) -> Planned:
    return make_plan(parse_job(json.dumps(job_data(**spec))), NOWHERE)


def mistakes(**spec: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        planned(**spec)
    return {problem.pointer: problem.message for problem in caught.value.problems}


def test_rungs_land_exactly_on_shares_of_four_digits() -> None:
    plan = planned(scheduler={"type": "asha", "shares": [0.0001, 0.0025, 0.3333, 1.0]}).plan
    assert [rung.share for rung in plan.rungs] == [0.0001, 0.0025, 0.3333, 1.0]
    assert plan.is_external and not plan.confirm


def test_rungs_round_up_to_the_passes_that_a_training_has() -> None:
    plan = planned(
        trial={"external": {"passes": 30}},
        scheduler={"type": "asha", "shares": [0.01, 0.02, 0.1, 0.35, 1.0]},
    ).plan
    assert [rung.share * 30 for rung in plan.rungs] == pytest.approx([1, 3, 11, 30])


def test_the_price_is_the_share_that_is_trained() -> None:
    one = planned()  # 6 trials to .02, 3 to .06, 2 to .2
    assert one.schedule.price == pytest.approx(6 * 0.02 + 3 * 0.04 + 2 * 0.14)
    assert one.schedule.confirm == 0.0 and one.schedule.expected is None


def test_from_a_price_the_last_rung_is_a_whole_training_in_the_place_of_a_confirmation() -> None:
    plan = planned(scheduler={}, budget={"trials": 27, "price": 2.5}).plan
    assert plan.rungs[-1].share == 1.0 and plan.rungs[-1].keep == 1
    assert [rung.eval_rows for rung in plan.rungs] == [0] * len(plan.rungs)
    assert plan.price_limit == 2.5


@pytest.mark.parametrize("scheduler", ["asha", "asha_promote", "fifo"])
def test_without_shares_every_scheduler_searches_up_to_a_whole_training(scheduler: str) -> None:
    assert planned(scheduler={"type": scheduler}).plan.rungs[-1].share == 1.0


def test_any_parameter_and_any_setting_may_be_named() -> None:
    plan = planned(
        space={"epochs": [1, 2], "anything": {"uniform": [0, 1]}, "mixed": [1, "two", 3.5]},
        trial={"external": {}, "settings": {"image": "repo/train:4"}},
    ).plan
    assert set(plan.space) == {"epochs", "anything", "mixed"}
    assert plan.fixed == {"image": "repo/train:4"}


def test_a_metric_has_any_name_but_a_tests() -> None:
    assert planned(objective={"metric": "bleu"}).plan.metric == "bleu"
    assert "never tuned on" in mistakes(objective={"metric": "test_bleu"})["spec.objective.metric"]


def test_what_cannot_be_had_is_a_mistake_with_the_reason() -> None:
    found = mistakes(
        subset={"fraction": 0.1},
        confirm={"enabled": True, "top_k": 1},
        checkpoint={"every_share": 0.1},
        trial={"external": {}, "resources": {"cpu": 2}, "runtime_env": {"pip": ["x"]},
               "settings": {"lr": 1}},
        scheduler={"type": "asha", "shares": [0.1, 0.5], "eval_rows": [100, None]},
        budget={"trials": 6, "wall_clock": "1h"},
        search={"start_points": [{"lr": 5.0}, {"width": 3}]},
    )  # fmt: skip
    assert set(found) == {
        "spec.subset", "spec.confirm.enabled", "spec.confirm.top_k", "spec.checkpoint",
        "spec.trial.resources", "spec.trial.runtime_env", "spec.scheduler.eval_rows",
        "spec.budget.wall_clock", "spec.trial.settings.lr", "spec.search.start_points[0].lr",
        "spec.search.start_points[1].width",
    }  # fmt: skip
    assert "the trials are trained elsewhere" in found["spec.subset"]
    assert "no confirmation" in found["spec.confirm.enabled"]


def test_no_confirmation_may_be_said() -> None:
    assert not planned(confirm={"enabled": False}).plan.confirm


def test_a_price_below_one_rung_is_refused() -> None:
    found = mistakes(budget={"trials": 6, "price": 0.001})
    assert "cannot pay one rung" in found["spec.budget.price"]


def view(home: Settings, **spec: Any) -> PlanView:
    with closing(LocalService(home)) as service:
        return service.plan(json.dumps(job_data(**spec)), "job.yaml")


def test_the_plan_says_what_there_is_instead_and_can_be_submitted_again(home: Settings) -> None:
    first = view(home)
    spec = first.job["spec"]
    assert "subset" not in spec and spec["confirm"] == {"enabled": False}
    assert "trained elsewhere" in first.chosen["spec.confirm.enabled"].reason
    assert "shares count to 0.0001" in first.chosen["spec.trial.external.passes"].reason
    assert not any(pointer.startswith("spec.subset") for pointer in first.chosen)
    with closing(LocalService(home)) as service:
        again = service.plan(json.dumps(first.job), "again.yaml")
    assert again.job == first.job and again.rungs == first.rungs


def test_a_plan_comes_back_from_its_json() -> None:
    plan = planned(trial={"external": {"timeout": "5m"}}).plan
    again = SearchPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan and again.client_timeout_s == 300.0
