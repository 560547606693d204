from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.errors import SpecError
from automata_svc.spec.load import parse_job
from tests.spec.jobs import MINIMAL, job_data

ROOT = Path(__file__).resolve().parents[2]


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_job(text, "job.yaml", overrides)
    return [str(one) for one in caught.value.problems]


def test_all_mistakes_come_at_once_with_a_pointer_to_each() -> None:
    text = """\
apiVersion: automata/v2
kind: TuneJob
status: {state: RUNNING}
metadata: {name: Letter, lables: {}}
spec:
  trial: {template: tabular_mlp, datset: letter, resources: {cpu: 0}}
  space:
    lr: {loguniform: [0, 1]}
    hidden: {choise: [1, 2]}
    beta: {uniform: [0.5, 0.9], when: {optimiser: [sgd]}}
    optimizer: [sgd, adam]
  subset: {fraction: yes, scope: world}
  search: {type: tpe, start_points: [{lr: 0.1, hidden: [2]}]}
  scheduler: {rank_by: [metrik]}
  guards: [divergance]
  budget: {trials: 0, price: -1, energy_kwh: 3}
  parallelism: 1.5
"""
    found = problems(text)
    assert [line.split(":")[0] for line in found] == [
        "apiVersion",
        "metadata.name",
        "metadata.lables",
        "spec.trial.dataset",
        "spec.trial.resources.cpu",
        "spec.trial.datset",
        "spec.space.lr.loguniform",
        "spec.space.hidden.choise",
        "spec.space.beta.when.optimiser",
        "spec.subset.fraction",
        "spec.subset.scope",
        "spec.search.start_points[0].hidden",
        "spec.scheduler.rank_by[0]",
        "spec.guards[0].type",
        "spec.budget.trials",
        "spec.budget.price",
        "spec.budget.energy_kwh",
        "spec.parallelism",
        "status",
    ]
    assert found[-1] == "status: belongs to the server, which writes it; remove it"
    assert "did you mean 'dataset'?" in found[5]


def test_the_error_names_the_file() -> None:
    with pytest.raises(SpecError, match=r"^job\.yaml: spec\.budget\.trials: 0 is not at least 1$"):
        parse_job(MINIMAL.replace("27", "0"), "job.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; a job starts with apiVersion: automata/v1"),
        ("- a", "a list, not a mapping of keys to values"),
        ("job", "the text 'job', not a mapping of keys to values"),
        ("12", "12, not a mapping of keys to values"),
    ],
)
def test_a_text_that_is_no_mapping_says_what_it_is(text: str, said: str) -> None:
    assert problems(text) == [said]


FULL = job_data(
    description="x",
    objective={"metric": "val_loss", "mode": "min"},
    space={
        "lr": {"loguniform": [1e-4, 1e-1], "when": {"optimizer": ["sgd"]}},
        "optimizer": ["sgd", "adam"],
        "layers": {"randint": [1, 3]},
        "dropout": {"quniform": [0, 0.5, 0.1]},
    },
    subset={"strategy": "milo", "fraction": 0.1, "options": {"pool": 3}, "encoder": "tfidf"},
    search={"type": "tpe", "seed": 3, "start_points": [{"lr": 0.1}], "startup_trials": 4},
    scheduler={"shares": [0.1, 0.2], "keep": [3, 2], "eval_rows": [100, None]},
    guards=["non_finite", {"type": "divergence", "loss_ratio": 4}],
    confirm={"resume": False, "finish": {"decay": 0.1}, "top_k": 2},
    budget={"trials": 27, "price": 2.5, "wall_clock": "6h", "goal": 0.9},
    failure={"trial_retries": 1},
    parallelism=2,
    checkpoint={"every_share": 0.1},
)
JUNK = st.sampled_from(
    [None, True, 0, -1, 1.5, 1e300, "", "x", "1e-4", [], [1], [[]], {}, {"x": 1}, {"": None}]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


@given(st.lists(st.tuples(st.sampled_from(list(places(FULL))[1:]), JUNK), min_size=1, max_size=4))
def test_whatever_stands_where_is_taken_or_refused_in_our_words(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    data = copy.deepcopy(FULL)
    for path, junk in changes:
        place: Any = data
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = copy.deepcopy(junk)
        except (TypeError, KeyError, IndexError):  # an earlier change took the place away
            continue
    try:
        parse_job(json.dumps(data))
    except SpecError as error:
        for one in error.problems:
            assert one.message
            assert "pydantic" not in one.message
            assert "Input should" not in one.message


# ---- overrides ----------------------------------------------------------------------------------


def test_an_override_is_a_path_below_spec_and_a_yaml_value() -> None:
    job = parse_job(
        MINIMAL,
        overrides=[
            "budget.trials=9",
            "space.lr.loguniform=[1e-3, 1e-2]",
            "space.layers={randint: [1, 3]}",
            "subset.fraction=1e-2",
            "search.start_points=[{lr: 5e-3}]",
            "search.start_points.0.layers=2",
            "trial.settings.note=a=b",
            "guards=[]",
        ],
    )
    assert job.spec.budget.trials == 9
    assert job.spec.space["lr"].low == 1e-3
    assert job.spec.space["layers"].size == 3
    assert job.spec.subset.fraction == 0.01
    assert job.spec.search.start_points == ({"lr": 5e-3, "layers": 2},)
    assert job.spec.trial.settings == {"note": "a=b"}
    assert job.spec.guards == ()


def test_a_full_path_reaches_everything() -> None:
    job = parse_job(MINIMAL, overrides=["metadata.name=other", "spec.budget.trials=3"])
    assert (job.metadata.name, job.spec.budget.trials) == ("other", 3)


def test_the_last_of_two_overrides_wins() -> None:
    job = parse_job(MINIMAL, overrides=["budget.trials=3", "budget.trials=4"])
    assert job.spec.budget.trials == 4


def test_an_override_can_give_a_missing_section() -> None:
    text = MINIMAL.replace("  budget: {trials: 27}\n", "")
    assert parse_job(text, overrides=["budget.trials=3"]).spec.budget.trials == 3


def test_an_override_goes_on_below_a_dataset_that_is_a_text_alone() -> None:
    job = parse_job(MINIMAL, overrides=["trial.dataset=./mine.csv", "trial.dataset.target=label"])
    dataset = job.spec.trial.dataset
    assert dataset is not None and (dataset.path, dataset.target) == ("./mine.csv", "label")
    (said,) = problems(MINIMAL, "trial.dataset.target=label")  # the dataset of MINIMAL has a name
    assert said.startswith("spec.trial.dataset.target: goes with a path")


def test_a_mistake_in_an_override_names_the_override() -> None:
    assert problems(MINIMAL, "budget.trials=0", "budgt.trials=3", "subset.fraction=lots") == [
        "spec.subset.fraction: 'lots' is not a number (from --set subset.fraction=lots)",
        "spec.budget.trials: 0 is not at least 1 (from --set budget.trials=0)",
        "spec.budgt: unknown key; did you mean 'budget'? known: description, trial, objective, "
        "space, subset, search, scheduler, guards, confirm, budget, failure, parallelism, "
        "checkpoint, queue, priority, notify, retention (from --set budgt.trials=3)",
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget.trials", "not of the form path=value, e.g. budget.trials=9"),
        ("=3", "not of the form path=value"),
        ("a..b=3", "not of the form path=value"),
        ("budget.price=.nan", "the value is .nan is not a finite number"),
        ("budget.price=[1", "the value is not YAML"),
        (
            "trial.template.name=x",
            "spec.trial.template is the text 'tabular_mlp' and has no 'name'; "
            "set spec.trial.template as a whole",
        ),
        ("space.hidden.7=3", "spec.space.hidden is a list of 3; '7' is not a place in it"),
        ("space.hidden.x=3", "'x' is not a place in it"),
    ],
)
def test_an_override_that_cannot_be_written_says_why(override: str, said: str) -> None:
    found = problems(MINIMAL, override)
    assert len(found) == 1
    assert found[0].startswith(f"--set {override}: ")
    assert said in found[0]


def test_an_override_of_one_alias_leaves_the_other() -> None:
    text = MINIMAL.replace("[64, 128, 256]}", "&h [64, 128, 256], width: *h}")
    job = parse_job(text, overrides=["space.width.0=32"])
    assert job.spec.space["hidden"].values == (64, 128, 256)
    assert job.spec.space["width"].values == (32, 128, 256)


# ---- the package --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted((ROOT / "trial_templates").glob("*.yaml")), ids=lambda p: p.name
)
def test_the_job_beside_each_template_is_a_job(path: Path) -> None:
    job = parse_job(path.read_text(encoding="utf-8"), path.name)
    assert job.spec.trial.template == path.stem


def test_reading_a_job_loads_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "ray", "sqlalchemy", "pandas", "optuna", "scipy", "sklearn")
    code = f"import sys, automata_svc.spec.load; print([n for n in {heavy!r} if n in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
