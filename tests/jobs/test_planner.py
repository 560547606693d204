"""What a job file turns into: defaults with reasons, rungs by price, and every mistake at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automata_svc.errors import SpecError
from automata_svc.jobs.planner import Planned, make_plan
from automata_svc.jobs.recipes import RECIPES
from automata_svc.jobs.rungs import MIN_STEPS, steps_at
from automata_svc.settings import Settings
from automata_svc.spec.load import parse_job
from automata_svc.tuning.guards import GUARDS
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.searchers import SEARCHERS
from tests.jobs.build import job_data, job_text, trial

SPACE = {"lr": {"loguniform": [1e-3, 0.3]}, "hidden": [64, 128], "batch_size": [16, 32]}
DIGITS = {"template": "tabular_mlp", "dataset": "digits"}


def planned(**spec: Any) -> Planned:
    return make_plan(parse_job(job_text(**spec), "job.yaml"), Settings.from_env({}))


def minimal(**spec: Any) -> Planned:
    """The eight-line job on digits: nothing given but trial, space and the number of trials."""
    given = {"trial": DIGITS, "space": SPACE, "scheduler": None, "budget": {"trials": 27}}
    return planned(**{**given, **spec})


def mistakes(data: dict[str, Any]) -> dict[str, str]:
    """Pointer → message of every mistake in a job."""
    with pytest.raises(SpecError) as refused:
        make_plan(parse_job(json.dumps(data), "job.yaml"), Settings.from_env({}), source="job.yaml")
    assert refused.value.exit_code == 2
    assert str(refused.value).startswith("job.yaml")
    found: dict[str, str] = {}
    for problem in refused.value.problems:
        found[problem.pointer] = f"{found.get(problem.pointer, '')} {problem.message}".strip()
    return found


# ---- defaults ---------------------------------------------------------------------------------


def test_every_default_is_filled_in_with_its_reason():
    chosen = minimal().chosen
    for pointer in (
        "spec.trial.settings.epochs", "spec.objective.metric", "spec.objective.mode",
        "spec.subset.strategy", "spec.subset.fraction", "spec.search.type", "spec.search.seed",
        "spec.scheduler.type", "spec.scheduler.shares", "spec.scheduler.keep", "spec.confirm.top_k",
        "spec.budget.price", "spec.parallelism",
    ):  # fmt: skip
        assert chosen[pointer].reason and chosen[pointer].reason != "given", pointer


def test_what_is_given_is_kept_and_said_to_be_given():
    made = planned(
        objective={"metric": "val_loss"},
        search={"type": "qmc", "seed": 3},
        subset={"strategy": "random", "fraction": 0.5},
        scheduler={"shares": [0.1, 0.4], "keep": [3, 2]},
        confirm={"top_k": 2},
    )
    for pointer in ("objective.metric", "search.type", "search.seed", "subset.strategy",
                    "subset.fraction", "confirm.top_k", "scheduler.shares"):  # fmt: skip
        assert made.chosen[f"spec.{pointer}"].reason == "given", pointer
    assert made.plan.mode == "min"  # a loss
    assert (made.plan.search, made.plan.seed, made.plan.finalists) == ("qmc", 3, 2)


def test_more_finalists_than_the_last_rung_keeps_are_refused():
    with pytest.raises(
        SpecError, match="3 are to be confirmed, but the last of scheduler.keep is 2"
    ):
        planned(scheduler={"shares": [0.1, 0.4], "keep": [4, 2]}, confirm={"top_k": 3})


def test_a_recipe_lets_as_many_through_as_are_to_be_confirmed():
    made = planned(scheduler={}, confirm={"top_k": 3}, budget={"trials": 27, "price": 5})
    assert made.plan.rungs[-1].keep == made.plan.finalists == 3


def test_settings_go_before_the_templates_defaults():
    made = planned(trial=trial(settings={"epochs": 7, "dropout": 0.25}))
    assert made.plan.epochs == made.plan.fixed["epochs"] == 7
    assert made.plan.fixed["dropout"] == 0.25
    assert made.plan.fixed["optimizer"] == "sgd"
    assert not set(made.plan.fixed) & {"lr", "hidden", "batch_size"}


def test_a_plan_survives_its_storage():
    made = minimal().plan
    stored = json.loads(json.dumps(made.to_json()))
    assert SearchPlan.from_json(stored).to_json() == made.to_json()
    assert SearchPlan.from_json(stored).rungs == made.rungs


def test_a_subset_has_at_least_four_of_the_largest_batches():
    made = planned(subset={"fraction": 0.01}, space={**SPACE, "batch_size": [16, 64]})
    assert made.plan.table.subset_rows == 256
    assert "four of the largest batches" in made.chosen["spec.subset.fraction"].reason


# ---- the price is the dial ----------------------------------------------------------------------


@pytest.mark.parametrize("every_share", [0.05, 0.0005])
def test_a_pass_of_the_confirmation_holds_a_largest_batch(every_share):
    brief = {**DIGITS, "settings": {"epochs": 1}}
    plan = minimal(
        trial=brief, space={"batch_size": [16, 512]}, checkpoint={"every_share": every_share}
    ).plan
    table = plan.confirm_table(0)
    assert table.slices == 2 == plan.n_train // 512


def test_a_higher_price_buys_no_cheaper_plan_and_none_is_exceeded():
    before = 0.0
    for price in (1.5, 2.5, 5.0, 10.0):
        made = minimal(budget={"trials": 27, "price": price})
        assert before <= made.schedule.price <= price + 1e-9
        assert made.plan.price_limit == price
        assert made.schedule.recipe in RECIPES
        before = made.schedule.price


def test_without_a_price_the_default_is_taken_and_named():
    made = minimal()
    assert made.plan.price_limit == pytest.approx(2.5)
    assert "2.5" in made.chosen["spec.budget.price"].reason


def test_a_job_that_the_default_price_cannot_pay_is_warned_of():
    dear = minimal(trial={**DIGITS, "settings": {"epochs": 1}}, budget={"trials": 300})
    assert dear.schedule.price > 2.5
    (said,) = [text for text in dear.warnings if "default price 2.5" in text]
    assert f"takes {dear.schedule.price:.2f} full trainings" in said
    assert not any("default price" in text for text in minimal().warnings)


def test_a_price_no_recipe_reaches_names_the_cheapest_that_works():
    found = mistakes(job_data(trial=DIGITS, space=SPACE, scheduler=None,
                              budget={"trials": 27, "price": 0.9}))  # fmt: skip
    message = found["spec.budget.price"]
    assert "0.9" in message and "cheapest" in message
    named = float(message.split("Raise the price to ")[1].split(",")[0])
    made = minimal(budget={"trials": 27, "price": named})
    assert made.schedule.price <= named


def test_a_price_below_one_rung_and_the_confirmation_is_refused_and_one_above_runs():
    def budget(price: float) -> dict[str, Any]:
        return job_data(scheduler={"type": "asha"}, confirm={"top_k": 2},
                        budget={"trials": 6, "price": price})  # fmt: skip

    message = mistakes(budget(1.0))["spec.budget.price"]
    needed = float(message.split("which take ")[1].split(" ")[0])
    assert 1.0 < needed < 1.3
    assert make_plan(parse_job(json.dumps(budget(needed + 0.01))), Settings.from_env({}))


def test_keeps_scale_with_the_number_of_trials():
    few, many = (
        minimal(budget={"trials": 9, "price": 5}),
        minimal(budget={"trials": 54, "price": 9}),
    )
    for made in (few, many):
        keep = [rung.keep for rung in made.plan.rungs]
        assert keep == sorted(keep, reverse=True) and keep[0] < made.plan.trials
    assert few.plan.rungs[0].keep < many.plan.rungs[0].keep


def test_explicit_shares_and_keeps_win_over_the_price():
    made = planned(
        scheduler={"shares": [0.1, 0.2], "keep": [2, 1]}, budget={"trials": 6, "price": 5}
    )
    assert made.schedule.recipe is None
    assert [rung.asked for rung in made.plan.rungs] == [0.1, 0.2]
    assert made.plan.price_limit == 5


def test_the_planned_price_is_what_the_job_costs_when_nothing_fails():
    from tests.tuning.build import run_simulated

    for scheduler in ({"shares": [0.03, 0.1, 0.3], "keep": [3, 2, 1]}, {"type": "fifo"}):
        made = planned(scheduler=scheduler)
        state = run_simulated(made.plan)
        assert state.state.price == pytest.approx(made.schedule.price)


# ---- rungs --------------------------------------------------------------------------------------


def test_rungs_land_on_whole_passes_at_or_after_what_was_asked():
    made = minimal()
    for rung in made.plan.rungs:
        assert rung.share >= rung.asked - 1e-9
        assert made.plan.table.rows_at(rung.boundary) == rung.rows
        assert made.plan.table.rows_at(rung.boundary - 1) < rung.asked * made.plan.total_rows


def test_rungs_that_coincide_are_one_with_the_later_keep():
    # 8 batches of 32 are a pass: 1 % and 2 % of 4 epochs land on the same one.
    made = planned(
        scheduler={"shares": [0.01, 0.011, 0.3], "keep": [5, 3, 1]}, space={**SPACE, "hidden": [8]}
    )
    assert len(made.plan.rungs) == 2
    assert [rung.keep for rung in made.plan.rungs] == [3, 1]


def test_rungs_that_coincide_are_no_longer_what_was_measured():
    long = {**DIGITS, "settings": {"epochs": 400}}
    assert minimal(trial=long).schedule.expected is not None
    brief = minimal(trial={**DIGITS, "settings": {"epochs": 1}})
    assert len(brief.plan.rungs) < len(RECIPES[brief.schedule.recipe].shares)
    assert brief.schedule.expected is None


def test_a_first_rung_far_above_the_recipes_is_not_what_was_measured():
    made = minimal()  # 50 steps on so few rows are 1.6 % of a training, not .2 %
    first = made.plan.rungs[0]
    assert made.schedule.raised and len(made.plan.rungs) == 4
    assert first.share > 5 * RECIPES[made.schedule.recipe].shares[0]
    assert made.schedule.expected is None


def test_a_first_rung_that_ranks_untrained_models_is_not_what_was_measured():
    made = minimal(budget={"trials": 27, "price": 1.5})  # too little to move it up
    assert any("untrained" in text for text in made.warnings)
    assert made.schedule.expected is None


def test_a_first_rung_of_few_steps_is_warned_of():
    made = planned()
    (warning,) = [text for text in made.warnings if "optimizer steps" in text]
    assert "untrained" in warning


@pytest.mark.parametrize("price", [2.5, 3.7, 5.0])
def test_a_first_rung_goes_up_to_trained_models_of_the_smallest_batch(price):
    made = minimal(budget={"trials": 27, "price": price})
    assert steps_at(made.plan.rungs[0], made.plan.table, 16) >= MIN_STEPS
    assert made.schedule.price <= price


def test_synchronous_rungs_under_a_sequential_searcher_are_warned_of():
    made = planned(search={"type": "tpe"})
    assert any("tpe" in text and "asha_promote" in text for text in made.warnings)
    assert not any(
        "asha_promote" in text
        for text in planned(search={"type": "tpe"}, scheduler={"type": "asha_promote"}).warnings
    )


# ---- grid ---------------------------------------------------------------------------------------


def test_a_grid_is_no_larger_than_its_space():
    made = planned(
        search={"type": "grid"},
        space={"hidden": [16, 32], "layers": {"randint": [1, 3]}},
        scheduler={"type": "fifo"},
        budget={"trials": 50},
    )
    assert made.plan.trials == 6
    assert any("only 6 configurations" in text for text in made.warnings)


def test_a_grid_over_a_continuous_range_is_refused_by_name():
    found = mistakes(job_data(search={"type": "grid"}))
    assert set(found) == {"spec.space.lr"}
    assert "listed values" in found["spec.space.lr"]


# ---- bad input ----------------------------------------------------------------------------------


def test_all_mistakes_come_back_at_once():
    found = mistakes(
        job_data(
            trial={"template": "tabular_mpl", "dataset": "leter"},
            objective={"metric": "test_accuracy"},
            subset={"strategy": "adaptive_randm"},
        )
    )
    assert set(found) == {
        "spec.trial.template",
        "spec.trial.dataset",
        "spec.objective.metric",
        "spec.subset.strategy",
    }
    assert "tabular_mlp" in found["spec.trial.template"]
    assert "letter" in found["spec.trial.dataset"]
    assert "never tuned on" in found["spec.objective.metric"]
    assert "adaptive_random" in found["spec.subset.strategy"]


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown key": ({"budgt": {"trials": 3}}, "spec.budgt", "budget"),
    "a parameter the template does not declare": (
        {"space": {"lrr": {"loguniform": [0.1, 1]}}}, "spec.space.lrr", "'lr'"),
    "a setting the template does not declare": (
        {"trial": trial(settings={"epoch": 4})}, "spec.trial.settings.epoch", "'epochs'"),
    "a bound of the wrong type": (
        {"space": {"hidden": {"uniform": [1.0, 2.0]}}}, "spec.space.hidden", "randint"),
    "a choice of the wrong type": (
        {"space": {"hidden": [16, "many"]}}, "spec.space.hidden", "declared int"),
    "a setting of the wrong type": (
        {"trial": trial(settings={"epochs": "ten"})}, "spec.trial.settings.epochs", "int"),
    "epochs in the space": ({"space": {"epochs": [5, 10]}}, "spec.space.epochs", "settings"),
    "a parameter in space and settings": (
        {"trial": trial(settings={"hidden": 16})}, "spec.trial.settings.hidden", "one place"),
    "no epochs": ({"trial": trial(settings={"epochs": 0})}, "spec.trial.settings.epochs", "1"),
    "a fraction of nothing": ({"subset": {"fraction": 0}}, "spec.subset.fraction", "0"),
    "a fraction above 1": ({"subset": {"fraction": 1.5}}, "spec.subset.fraction", "1.5"),
    "an option of another strategy": (
        {"subset": {"strategy": "adaptive_random", "options": {"pool": 3}}},
        "spec.subset.options.pool", "unknown option of strategy 'adaptive_random' 'pool'"),
    "an option out of its range": (
        {"subset": {"strategy": "automata", "options": {"pool": 0}}},
        "spec.subset.options.pool", "0 is not usable; an integer from 1 to"),
    "an option that is none of its words": (
        {"subset": {"strategy": "milo", "options": {"mode": "sharp"}}},
        "spec.subset.options.mode", "one of: shaped, faithful"),
    "an encoder nobody looks at": ({"subset": {"encoder": "standard"}}, "spec.subset.encoder",
                                   "no embeddings"),
    "a start point outside of the space": (
        {"search": {"start_points": [{"hidden": 17}]}}, "spec.search.start_points[0].hidden",
        "outside"),
    "a start point of nothing": (
        {"search": {"start_points": [{"hiden": 16}]}}, "spec.search.start_points[0].hiden",
        "'hidden'"),
    "a start point with a parameter that does not exist beside its others": (
        {"space": {"optimizer": ["sgd", "adam"],
                   "weight_decay": {"uniform": [0, 1], "when": {"optimizer": ["adam"]}}},
         "search": {"start_points": [{"optimizer": "sgd", "weight_decay": 0.5}]}},
        "spec.search.start_points[0].weight_decay", "does not exist where optimizer is 'sgd'"),
    "a batch of no row": (
        {"trial": trial(settings={"batch_size": 0}), "space": {"hidden": [16, 32]}},
        "spec.trial.settings.batch_size", "0 is not at least 1"),
    "batches that may be of less than a row": (
        {"space": {"batch_size": {"randint": [-4, 16]}}}, "spec.space.batch_size",
        "-4 is not at least 1"),
    "a grid that nobody lists": (
        {"search": {"type": "grid"},
         "space": {"hidden": {"randint": [1, 10**12]}, "layers": [1, 2]}},
        "spec.space", "2,000,000,000,000 configurations"),
    "a template that is not there": (
        {"trial": trial(template="./nowhere.py")}, "spec.trial.template", "nowhere.py"),
    "a data file that is not there": (
        {"trial": trial(dataset="./nowhere.csv")}, "spec.trial.dataset", "nowhere.csv"),
    "bounds the wrong way round": (
        {"space": {"lr": {"loguniform": [0.1, 0.01]}}}, "spec.space.lr", "0.1"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(BAD))
def test_a_mistake_is_pointed_at_and_says_what_would_be_right(what):
    spec, pointer, said = BAD[what]
    found = mistakes(job_data(**spec))
    at = [message for where, message in found.items() if where.startswith(pointer)]
    assert at, found
    assert said in at[0], at[0]


def test_a_range_of_whole_numbers_is_never_listed():
    assert minimal(space={"hidden": {"randint": [1, 2**53]}}).plan.trials == 27


def test_a_template_whose_batches_are_no_whole_numbers_is_refused(tmp_path):
    text = (Path(__file__).parents[2] / "trial_templates" / "tabular_mlp.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("batch_size: int = 32", 'batch_size: str = "a"'))
    given = {"trial": trial(template=str(tmp_path / "mine.py")), "space": {"hidden": [16, 32]}}
    found = mistakes(job_data(**given))
    assert "declares batch_size: str" in found["spec.trial.template"]


def test_a_key_that_stands_twice_is_refused():
    text = job_text()[:-1] + ', "kind": "TuneJob"}'
    with pytest.raises(SpecError, match="kind"):
        parse_job(text, "job.yaml")


def _csv(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "mine.csv"
    path.write_text(text)
    return trial(dataset={"path": str(path), "target": "label"})


def _rows(labels: str, n: int = 60, cell: str = "1.0") -> str:
    lines = [f"{i % 7},{cell if i == 5 else i / 9:},{labels[i % len(labels)]}" for i in range(n)]
    return "a,b,label\n" + "\n".join(lines) + "\n"


DATA: dict[str, tuple[str, str]] = {
    "one class": (_rows("x"), "class"),
    "a float target": ("a,label\n" + "\n".join(f"{i},{i / 7}" for i in range(60)), "regression"),
    "a column that is not there": ("a,lable\n1,x\n2,y\n", "lable"),
    "no rows": ("a,label\n", "no row"),
}


@pytest.mark.parametrize("what", sorted(DATA))
def test_data_that_cannot_be_tuned_on_is_said(what, tmp_path):
    text, said = DATA[what]
    found = mistakes(job_data(trial=_csv(tmp_path, text)))
    assert said in found["spec.trial.dataset"]


def test_nan_in_features_is_said_for_arrays(tmp_path):
    x = np.ones((60, 3))
    x[4, 2] = np.nan
    np.savez(tmp_path / "mine.npz", X=x, y=np.arange(60) % 2)
    found = mistakes(job_data(trial=trial(dataset=str(tmp_path / "mine.npz"))))
    assert "spec.trial.dataset" in found
    assert "NaN" in found["spec.trial.dataset"] or "not finite" in found["spec.trial.dataset"]


def test_an_empty_split_is_said(tmp_path):
    empty = np.array([], dtype=np.int64)
    np.savez(tmp_path / "mine.npz", X=np.ones((60, 3)), y=np.arange(60) % 2,
             train_idx=np.arange(40), val_idx=empty, test_idx=np.arange(40, 60))  # fmt: skip
    found = mistakes(job_data(trial=trial(dataset=str(tmp_path / "mine.npz"))))
    assert "empty" in found["spec.trial.dataset"] or "no row" in found["spec.trial.dataset"]


@pytest.mark.parametrize(
    "spec",
    [
        *({"search": {"type": name}} for name in sorted(SEARCHERS)),
        *({"scheduler": {"type": name}} for name in sorted(SCHEDULERS)),
        *({"guards": [{"type": name}]} for name in sorted(GUARDS)),
    ],
    ids=str,
)
def test_whatever_is_in_a_table_can_be_named_in_a_job(spec):
    listed = {"lr": [0.1, 0.01, 0.001], "hidden": [64, 128, 256], "batch_size": [16, 32, 64]}
    assert minimal(space=listed, **spec).plan.trials == 27  # a grid's size


def test_data_of_a_kind_that_the_template_does_not_work_with_is_refused_before_it_runs():
    found = mistakes(job_data(trial=trial(template="text_classifier", dataset="digits")))
    assert "needs text data; 'digits' is tabular" in found["spec.trial.dataset"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Params(:\n", "line 1"),
        ('"""No parameters."""\n\ndef train(trial):\n    pass\n', "Params"),
        ("import os\nos.remove('everything')\n", "Params"),
    ],
)
def test_a_template_that_does_not_parse_is_said_and_never_run(text, said, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    found = mistakes(job_data(trial=trial(template=str(path))))
    messages = " ".join(v for k, v in found.items() if k.startswith("spec.trial.template"))
    assert said in messages, found
