from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from automata_svc.errors import SpecError
from automata_svc.spec.job import Objective, TuneJob
from automata_svc.spec.load import dump_job, parse_job
from tests.spec.jobs import MINIMAL, job_data, load


def mistakes(**spec: Any) -> dict[str, str]:
    """Pointer → message of everything that is wrong with a job of these sections."""
    with pytest.raises(SpecError) as caught:
        load(**spec)
    return {one.pointer: one.message for one in caught.value.problems}


def test_the_minimal_job_works_as_it_stands() -> None:
    job = parse_job(MINIMAL, "job.yaml")
    assert job.metadata.name == "letter-mlp"
    assert job.metadata.project == "default"
    assert job.spec.trial.dataset.name == "letter"
    assert job.spec.space["lr"].kind == "loguniform"
    assert job.spec.space["hidden"].values == (64, 128, 256)
    assert job.spec.budget.trials == 27


def test_the_defaults_are_the_documented_ones() -> None:
    spec = load().spec
    assert spec.model_dump(mode="json", exclude={"trial", "space", "budget"}) == {
        "description": "",
        "objective": {"metric": "val_accuracy", "mode": "max"},
        "subset": {
            "strategy": "adaptive_random",
            "fraction": 0.1,
            "scope": "project",
            "select_every": None,
            "encoder": None,
            "options": {},
        },
        "search": {"type": "random", "seed": 0, "startup_trials": None, "start_points": []},
        "scheduler": {
            "type": "successive_halving",
            "rank_by": ["metric", "loss"],
            "average": True,
            "shares": None,
            "keep": None,
            "eval_rows": None,
            "reduction_factor": None,
            "grace_share": None,
            "max_share": None,
        },
        "guards": [{"type": "non_finite"}, {"type": "divergence"}],
        "confirm": {"enabled": True, "resume": True, "finish": {"decay": 0.2}, "top_k": None},
        "failure": {"trial_retries": 2, "max_failed_trials": 10},
        "parallelism": None,
        "checkpoint": {"every_share": 0.05},
        "queue": "default",
        "priority": 50,
        "notify": [],
        "retention": {"checkpoints": 1_209_600.0, "keep_best": True, "job": None},
    }
    assert spec.trial.model_dump(mode="json", exclude={"template", "dataset"}) == {
        "external": None,
        "code": None,
        "runtime_env": {"pip": [], "env_vars": {}, "secrets": []},
        "settings": {},
        "resources": {"cpu": 1.0, "gpu": 0.0},
    }


def test_a_job_is_frozen() -> None:
    job = load()
    with pytest.raises(ValidationError, match="frozen"):
        job.spec.budget.trials = 3  # type: ignore[misc]


# ---- words that stand for longer ones -----------------------------------------------------------


@pytest.mark.parametrize("text", ["letter", "csv", "my-data.parquet"])
def test_a_text_without_slash_or_known_ending_is_a_dataset_name(text: str) -> None:
    dataset = load(trial={"template": "t", "dataset": text}).spec.trial.dataset
    assert (dataset.name, dataset.path) == (text, None)


@pytest.mark.parametrize(
    "text", ["./letter", "data/letter", "a.npz", "a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz"]
)
def test_a_text_with_slash_or_known_ending_is_a_path(text: str) -> None:
    dataset = load(trial={"template": "t", "dataset": text}).spec.trial.dataset
    assert (dataset.name, dataset.path) == (None, text)


def test_a_dataset_is_a_name_or_a_path() -> None:
    both = {"template": "t", "dataset": {"name": "letter", "path": "a.csv"}}
    assert mistakes(trial=both) == {"spec.trial.dataset": "takes a name or a path, one of the two"}
    none = {"template": "t", "dataset": {"target": "label"}}
    assert mistakes(trial=none) == {"spec.trial.dataset": "takes a name or a path, one of the two"}


def test_a_named_dataset_fixes_its_own_splits() -> None:
    found = mistakes(
        trial={"template": "t", "dataset": {"name": "letter", "target": "y", "test": "b.csv"}}
    )
    assert found == {
        "spec.trial.dataset.target": "goes with a path; a named dataset fixes its own",
        "spec.trial.dataset.test": "goes with a path; a named dataset fixes its own",
    }


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("val_accuracy", "max"), ("val_loss", "min"), ("val_error", "min"), ("val_lossless", "max")],
)
def test_the_mode_follows_from_the_metrics_name(metric: str, mode: str) -> None:
    objective = load(objective={"metric": metric}).spec.objective
    assert objective.mode == mode
    assert "mode" not in objective.model_fields_set


@pytest.mark.parametrize(
    "written",
    [{"mode": "min"}, {"goal": "minimize"}, {"direction": "Minimize"}, {"mode": "MIN"}],
)
def test_other_words_for_the_mode_are_taken(written: dict[str, str]) -> None:
    assert load(objective={"metric": "val_accuracy", **written}).spec.objective == Objective(
        metric="val_accuracy", mode="min"
    )


def test_a_mode_is_said_once_and_is_max_or_min() -> None:
    assert mistakes(objective={"mode": "min", "goal": "maximize"}) == {
        "spec.objective": "mode and goal say the same; keep mode"
    }
    assert mistakes(objective={"mode": "biggest"}) == {
        "spec.objective.mode": "'biggest' is neither max nor min"
    }
    assert mistakes(objective={"goal": 0.95}) == {
        "spec.objective.goal": (
            "0.95 is neither max nor min; a value that is good enough is budget.goal"
        )
    }


# ---- numbers ------------------------------------------------------------------------------------


def test_numeric_text_is_a_number_where_one_is_due() -> None:
    spec = load(
        budget={"trials": "27", "price": "2.5"},
        subset={"fraction": "1e-1"},
        space={"lr": {"loguniform": ["1e-4", "1e-1"]}},
    ).spec
    assert (spec.budget.trials, spec.budget.price, spec.subset.fraction) == (27, 2.5, 0.1)
    assert (spec.space["lr"].low, spec.space["lr"].high) == (1e-4, 1e-1)


@pytest.mark.parametrize("value", [True, "nan", "inf", "-inf", "much", None, [0.1]])
def test_a_fraction_is_a_finite_number(value: Any) -> None:
    assert "number" in mistakes(subset={"fraction": value})["spec.subset.fraction"]


@pytest.mark.parametrize("value", [0, -0.1, 1.05])
def test_a_fraction_lies_above_0_and_at_most_at_1(value: float) -> None:
    right = "above 0" if value <= 0 else "at most 1"
    assert mistakes(subset={"fraction": value}) == {
        "spec.subset.fraction": f"{value} is not {right}"
    }


@pytest.mark.parametrize("value", [True, 1.5, "1.5", "x", 2**63, 1e300])
def test_a_seed_is_a_whole_number_of_64_bits(value: Any) -> None:
    assert "spec.search.seed" in mistakes(search={"seed": value})


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("6h", 21600),
        ("1h30m", 5400),
        ("2d", 172800),
    ],
)
def test_a_time_is_seconds_or_text_with_units(written: Any, seconds: float) -> None:
    assert load(budget={"trials": 1, "wall_clock": written}).spec.budget.wall_clock == seconds


@pytest.mark.parametrize("written", ["6 hours", "h", "", True, "m30"])
def test_another_time_says_how_one_is_written(written: Any) -> None:
    found = mistakes(budget={"trials": 1, "wall_clock": written})
    assert "write seconds, or text like 30m or 6h" in found["spec.budget.wall_clock"]


# ---- what does not go together ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduler", "pointer", "message"),
    [
        ({"shares": [0.1, 0.1]}, "shares", "must increase from rung to rung, but 0.1 follows 0.1"),
        ({"shares": []}, "shares", "is empty; leave it out, or give at least one share"),
        ({"shares": [0.1, 1.2]}, "shares[1]", "1.2 is not at most 1"),
        (
            {"shares": [0.1, 0.2], "keep": [3, 5]},
            "keep",
            "must not increase from rung to rung, but 5 follows 3",
        ),
        ({"shares": [0.1, 0.2], "keep": [3]}, "keep", "has 1 entries for 2 shares"),
        ({"shares": [0.1], "eval_rows": [1, None]}, "eval_rows", "has 2 entries for 1 shares"),
        ({"shares": [0.1], "eval_rows": [0]}, "eval_rows[0]", "0 is not at least 1"),
        ({"keep": [3]}, "keep", "goes with shares; without them the price chooses the rungs"),
        (
            {"shares": [0.1], "keep": [3], "reduction_factor": 3},
            "reduction_factor",
            "keep says it already; keep one of the two",
        ),
        (
            {"max_share": 0.2},
            "max_share",
            "successive_halving does not use it; the last of shares is where a run ends; "
            "it takes eval_rows, keep, reduction_factor, shares",
        ),
        (
            {"type": "fifo", "shares": [0.1]},
            "shares",
            "fifo does not use it; max_share is where a run ends; it takes max_share",
        ),
        (
            {"type": "asha", "keep": [3]},
            "keep",
            "asha does not use it; it takes eval_rows, grace_share, max_share, reduction_factor, "
            "shares",
        ),
        (
            {"type": "asha_promote", "shares": [0.1], "grace_share": 0.1},
            "grace_share",
            "shares say it already; keep one of the two",
        ),
        (
            {"type": "asha", "grace_share": 0.5, "max_share": 0.1},
            "grace_share",
            "0.5 is above max_share 0.1",
        ),
        ({"type": "asha", "reduction_factor": 1}, "reduction_factor", "1 is not above 1"),
        ({"rank_by": []}, "rank_by", "takes metric, loss or both, each once"),
        ({"rank_by": ["loss", "loss"]}, "rank_by", "takes metric, loss or both, each once"),
        (
            {"type": "hyperband"},
            "type",
            "'hyperband' is not known; it takes fifo, successive_halving, asha or asha_promote",
        ),
    ],
)
def test_a_scheduler_that_makes_no_sense_says_why(
    scheduler: dict[str, Any], pointer: str, message: str
) -> None:
    assert mistakes(scheduler=scheduler) == {f"spec.scheduler.{pointer}": message}


def test_schedulers_that_make_sense_are_taken() -> None:
    for scheduler in (
        {"shares": [0.01, 0.04, 0.16], "keep": [8, 3, 2], "eval_rows": [400, None, None]},
        {"shares": [0.01, 0.04], "reduction_factor": 3},
        {"type": "fifo", "max_share": 0.1},
        {"type": "asha", "grace_share": 0.01, "max_share": 0.32, "reduction_factor": 4},
        {"type": "asha_promote", "shares": [0.01, 1]},
    ):
        assert load(scheduler=scheduler).spec.scheduler.type


def test_more_than_there_are_trials_cannot_go_on() -> None:
    found = mistakes(
        scheduler={"shares": [0.1], "keep": [30]},
        confirm={"top_k": 28},
        search={"start_points": [{"lr": 0.01}] * 28},
    )
    assert found == {
        "spec.scheduler.keep": "keeps 30 trials at the first rung, but budget.trials is 27",
        "spec.confirm.top_k": "28 trials are to be confirmed, but budget.trials is 27",
        "spec.search.start_points": "28 points, but budget.trials is 27",
    }


def test_guards_are_texts_or_mappings_and_each_stands_once() -> None:
    guards = load(guards=["non_finite", {"type": "divergence", "loss_ratio": 5}]).spec.guards
    assert [guard.model_dump() for guard in guards] == [
        {"type": "non_finite"},
        {"type": "divergence", "loss_ratio": 5.0},
    ]
    assert load(guards=[]).spec.guards == ()
    assert mistakes(guards=["divergence", "divergence"]) == {
        "spec.guards[1]": "guard divergence is listed twice"
    }
    assert mistakes(guards=[{"type": "non_finite", "loss_ratio": 5}]) == {
        "spec.guards[0].loss_ratio": "goes with type divergence; non_finite has no threshold"
    }
    assert mistakes(guards=["divergance"]) == {
        "spec.guards[0].type": (
            "'divergance' is not known; did you mean 'divergence'? "
            "it takes non_finite or divergence"
        )
    }


def test_startup_trials_need_a_model_to_start() -> None:
    assert load(search={"type": "tpe", "startup_trials": 5}).spec.search.startup_trials == 5
    assert mistakes(search={"startup_trials": 5}) == {
        "spec.search.startup_trials": "goes with type tpe; random has no model to start"
    }


# ---- keys ---------------------------------------------------------------------------------------


def test_energy_is_refused_with_the_reason() -> None:
    found = mistakes(budget={"trials": 3, "energy_kwh": 2})
    assert "no power reading" in found["spec.budget.energy_kwh"]


def test_a_key_of_other_tuners_says_what_is_there_instead() -> None:
    assert "read over HTTP or exported" in mistakes(sinks=["x"])["spec.sinks"]


# ---- trained elsewhere --------------------------------------------------------------------------


def test_a_trial_is_a_template_on_a_dataset_or_trained_elsewhere() -> None:
    external = load(trial={"external": {"timeout": "10m"}}).spec.trial.external
    assert external is not None and (external.timeout, external.passes) == (600.0, 10_000)
    assert mistakes(trial={}) == {
        "spec.trial.template": "is missing, e.g. tabular_mlp",
        "spec.trial.dataset": "is missing, e.g. letter",
    }
    found = mistakes(trial={"external": {}, "template": "t", "dataset": "letter", "code": "./x"})
    assert set(found) == {"spec.trial.template", "spec.trial.dataset", "spec.trial.code"}
    assert set(found.values()) == {"does not go with external: what is trained is not ours"}


@pytest.mark.parametrize(
    ("external", "key"),
    [({"timeout": 0}, "timeout"), ({"passes": 0}, "passes"), ({"passes": 10_001}, "passes")],
)
def test_what_is_trained_elsewhere_has_bounds(external: dict[str, Any], key: str) -> None:
    assert list(mistakes(trial={"external": external})) == [f"spec.trial.external.{key}"]


# ---- keys, again --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "place"), [("seed", "search"), ("trials", "budget"), ("labels", "metadata")]
)
def test_a_key_in_the_wrong_place_says_where_it_belongs(key: str, place: str) -> None:
    assert mistakes(**{key: 1}) == {f"spec.{key}": f"belongs into {place}"}


def test_an_unknown_key_names_the_nearest() -> None:
    assert mistakes(budget={"trials": 3, "prise": 2}) == {
        "spec.budget.prise": (
            "unknown key; did you mean 'price'? "
            "known: trials, price, wall_clock, goal, no_improve_trials"
        )
    }


def test_what_is_missing_is_said_with_an_example() -> None:
    data = job_data()
    del data["metadata"]["name"], data["spec"]["budget"], data["spec"]["trial"]["template"]
    with pytest.raises(SpecError) as caught:
        parse_job(json.dumps(data))
    assert {one.pointer: one.message for one in caught.value.problems} == {
        "metadata.name": "is missing, e.g. letter-mlp",
        "spec.budget": "is missing, e.g. {trials: 27}",
        "spec.trial.template": "is missing, e.g. tabular_mlp",
    }


@pytest.mark.parametrize("name", ["Letter", "-a", "a-", "a_b", "a.b", "", "a" * 64, "ä"])
def test_a_name_is_a_dns_label(name: str) -> None:
    data = job_data()
    data["metadata"]["name"] = name
    with pytest.raises(SpecError, match=r"metadata\.name"):
        parse_job(json.dumps(data))


def test_a_text_that_was_read_as_something_else_says_so() -> None:
    found = mistakes(trial={"template": 12, "dataset": {"name": False}}, description=["x"])
    assert found == {
        "spec.trial.template": '12 is read as a number; write "12" if the text is meant',
        "spec.trial.dataset.name": (
            'false is read as true or false; write "false" if the text is meant'
        ),
        "spec.description": "['x'] is not a text",
    }


def test_settings_are_numbers_texts_or_booleans() -> None:
    settings = {"epochs": 50, "lr": 0.1, "amp": True, "optimizer": "sgd"}
    trial = {"template": "t", "dataset": "d", "settings": settings}
    assert load(trial=trial).spec.trial.settings == settings
    trial["settings"] = {"epochs": [50], "lr": None}
    assert set(mistakes(trial=trial)) == {"spec.trial.settings.epochs", "spec.trial.settings.lr"}


def test_a_bare_number_is_a_label() -> None:
    data = job_data()
    data["metadata"]["labels"] = {"ticket": 412, "team": "lang"}
    assert parse_job(json.dumps(data)).metadata.labels == {"ticket": "412", "team": "lang"}


@pytest.mark.parametrize(
    ("labels", "pointer", "said"),
    [
        ({"k" * 64: "v"}, "metadata.labels", "has 64 characters; a key has 1 to 63"),
        ({"": "v"}, "metadata.labels", "a key is empty; a key has 1 to 63"),
        ({"k": "ü" * 64}, "metadata.labels.k", "64 characters; a label's value has at most 63"),
        ({f"k{n}": "v" for n in range(65)}, "metadata.labels", "65 labels; a job has at most 64"),
    ],
)
def test_labels_that_are_too_long_or_too_many_are_refused(
    labels: dict[str, str], pointer: str, said: str
) -> None:
    data = job_data()
    data["metadata"]["labels"] = labels
    with pytest.raises(SpecError) as caught:
        parse_job(json.dumps(data))
    (problem,) = caught.value.problems
    assert (problem.pointer, said in problem.message) == (pointer, True)


def test_the_longest_labels_and_the_most_of_them_are_taken() -> None:
    data = job_data()
    labels = {f"{n:02}" + "ключ"[: n % 4] * 15: "ü" * 63 for n in range(63)} | {"k" * 63: ""}
    data["metadata"]["labels"] = labels
    assert parse_job(json.dumps(data)).metadata.labels == labels


# ---- there and back -----------------------------------------------------------------------------

_scalars = (
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
)
_names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)


@st.composite
def domains(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["uniform", "loguniform", "randint", "quniform", "choice"]))
    if kind == "choice":
        unique = st.lists(_scalars, min_size=1, max_size=5, unique_by=lambda v: (type(v), v))
        values = draw(unique)
        keys = [(isinstance(v, bool), v) for v in values]
        return {"choice": [v for i, v in enumerate(values) if keys[i] not in keys[:i]]}
    if kind == "randint":
        low = draw(st.integers(-(10**6), 10**6))
        return {"randint": [low, low + draw(st.integers(1, 10**6))]}
    if kind == "quniform":
        low, steps = draw(st.integers(-100, 100)), draw(st.integers(1, 50))
        return {"quniform": [low / 10, low / 10 + steps, 0.25]}
    floats = st.floats(1e-6, 1e6)
    low_high = sorted(draw(st.tuples(floats, floats).filter(lambda pair: pair[0] != pair[1])))
    return {kind: low_high}


@st.composite
def job_texts(draw: st.DrawFn) -> str:
    data = job_data(
        space=draw(st.dictionaries(_names, domains(), min_size=1, max_size=4)),
        subset={"fraction": draw(st.floats(1e-6, 1))},
        description=draw(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
        ),
        search={"seed": draw(st.integers(0, 2**63 - 1))},
    )
    data["spec"]["trial"]["settings"] = draw(st.dictionaries(_names, _scalars, max_size=4))
    return json.dumps(data)


@settings(max_examples=50)
@given(job_texts())
def test_a_job_written_out_reads_back_as_the_same_job(text: str) -> None:
    job = parse_job(text)
    for form in ("yaml", "json"):
        for defaults in (True, False):
            again = parse_job(dump_job(job, form, defaults))  # type: ignore[arg-type]
            assert again == job
            assert same_types(again, job)
    assert dump_job(parse_job(dump_job(job))) == dump_job(job)


def same_types(a: TuneJob, b: TuneJob) -> bool:
    """1, 1.0 and True are equal in Python, and not the same setting."""
    return json.dumps(a.model_dump(mode="json")) == json.dumps(b.model_dump(mode="json"))


def test_what_was_not_given_can_be_left_out() -> None:
    text = dump_job(parse_job(MINIMAL), defaults=False)
    assert "checkpoint" not in text
    assert "loguniform" in text


def test_texts_that_look_like_something_else_come_back_as_texts() -> None:
    odd = ["1e-4", "on", "no", "1:30", "0x1f", "0o17", "null", "~", "", "true", "2024-01-01", "1_0"]
    odd += [".5", "5.", "+1", "=", "<<", "#x", "a: b", "- a", "\x85", "\u2028", "é", "\t", "\x1b"]
    trial = {"template": "t", "dataset": "d", "settings": {f"s{i}": v for i, v in enumerate(odd)}}
    job = load(trial=trial)
    assert parse_job(dump_job(job)).spec.trial.settings == trial["settings"]
