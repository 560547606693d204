"""What every template that discovery finds must do; a new file is tested by being there."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, ModuleType

import pytest
import torch
import yaml

from automata_svc.settings import Settings
from automata_svc.trials.data import TrialData
from automata_svc.trials.module import load_module
from automata_svc.trials.templates import Template, list_templates
from tests.trials.build import DATA, N_CLASSES, Driver, MemoryBlobs, order, run

TEMPLATES = MappingProxyType({t.name: t for t in list_templates(Settings.from_env({}))})
SMALL = {"hidden": 16, "embedding": 8}  # where declared: fewer units, so that the test is quick

every_template = pytest.mark.parametrize("name", sorted(TEMPLATES))


def module_of(template: Template) -> ModuleType:
    return load_module(template.text, template.sha256, template.path)


def small(template: Template) -> dict[str, object]:
    return {**template.defaults, **{k: v for k, v in SMALL.items() if k in template.defaults}}


@lru_cache
def data_for(name: str) -> TrialData:
    """The first of our kinds of data that the template says it can work with."""
    refusals = []
    for kind in sorted(DATA):
        data = DATA[kind]()
        try:
            run(order(1, params=small(TEMPLATES[name])), module_of(TEMPLATES[name]), data)
        except ValueError as refusal:
            refusals.append(str(refusal))
        else:
            return data
    raise AssertionError(f"{name} works on none of {sorted(DATA)}: {refusals}")


def trained(name: str, passes: int = 2, **params: object) -> tuple[Driver, MemoryBlobs]:
    blobs, template = MemoryBlobs(), TEMPLATES[name]
    what = order(passes, params={**small(template), **params}, checkpoints_at=(1,))
    return run(what, module_of(template), data_for(name), blobs), blobs


@every_template
def test_the_kind_of_data_that_it_declares_is_the_one_it_works_with(name):
    assert TEMPLATES[name].kind in (None, data_for(name).shape.kind)


@every_template
def test_it_refuses_data_of_another_kind_in_words(name):
    for kind in sorted(DATA):
        data = DATA[kind]()
        if data.shape.kind != data_for(name).shape.kind:
            with pytest.raises(ValueError, match=kind):
                run(order(1, params=small(TEMPLATES[name])), module_of(TEMPLATES[name]), data)


@every_template
def test_it_reports_accuracy_and_loss(name):
    values = trained(name)[0].reports[-1].values
    assert {"val_accuracy", "val_loss"} <= set(values)
    assert 0.0 <= values["val_accuracy"] <= 1.0
    assert values["val_loss"] > 0.0


@every_template
def test_it_does_better_than_chance_on_an_easy_set(name):
    template = TEMPLATES[name]
    full = order(16, epochs=8, params=small(template))
    values = run(full, module_of(template), data_for(name)).reports[-1].values
    assert values["val_accuracy"] > 2.0 / N_CLASSES


@every_template
def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_been_paused(name):
    straight, blobs = trained(name)
    template = TEMPLATES[name]
    onward = order(
        2, frm=1, segment=1, params=small(template), checkpoint=straight.reports[0].checkpoint
    )
    rest = run(onward, module_of(template), data_for(name), blobs)
    assert rest.passes == straight.passes[1:]
    assert rest.reports[-1].values == straight.reports[-1].values
    assert blobs[rest.reports[-1].checkpoint] == blobs[straight.reports[-1].checkpoint]


@every_template
def test_its_head_is_found_so_that_gradient_subsets_work(name):
    template = TEMPLATES[name]
    what = order(2, strategy="automata", subset_rows=64, params=small(template))
    driver = run(what, module_of(template), data_for(name))
    assert driver.reports[-1].cost.forward_rows > 60
    assert "residual" in driver.passes[0].facts


def changed(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value or 1  # one more row a batch may make as many batches
    if isinstance(value, float):
        return value * 2 if value else 0.25
    return f"not {value}"


USES = [(name, param.name) for name, t in sorted(TEMPLATES.items()) for param in t.params]


@pytest.mark.parametrize(("name", "param"), [use for use in USES if use[1] != "epochs"])
def test_each_parameter_it_declares_does_something(name, param):
    value = changed(small(TEMPLATES[name])[param])
    if isinstance(value, str):
        with pytest.raises(ValueError, match=param):
            trained(name, **{param: value})
        return
    assert trained(name, **{param: value})[0].passes != trained(name)[0].passes


@every_template
def test_it_draws_only_from_seeded_generators(name):
    assert trained(name)[0].passes == trained(name)[0].passes
    torch.manual_seed(1)
    assert trained(name)[0].passes == trained(name)[0].passes


@every_template
def test_the_confirmation_can_evaluate_it_on_test_rows(name):
    driver, blobs = trained(name)
    template, at = TEMPLATES[name], driver.reports[-1]
    what = order(2, frm=2, phase="test", checkpoint=at.checkpoint, params=small(template))
    (report,) = run(replace(what, values_at={}), module_of(template), data_for(name), blobs).reports
    assert report.values["val_loss"] == at.values["val_loss"]
    assert 0.0 <= report.values["test_accuracy"] <= 1.0


@every_template
def test_a_job_that_runs_it_as_it_is_lies_beside_it(name):
    path = Path(TEMPLATES[name].path).with_suffix(".yaml")
    text = path.read_text()
    assert text.splitlines()[0] == f"# automata tune trial_templates/{path.name}"
    job = yaml.safe_load(text)
    assert job["spec"]["trial"]["template"] == name
    assert set(job["spec"]["space"]) <= set(TEMPLATES[name].defaults)
