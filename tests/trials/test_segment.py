"""A segment from order to reports: what is sent, what it cost, what a trial can reach."""

from __future__ import annotations

import gc
import random
import threading
import traceback
from dataclasses import replace

import numpy as np
import pytest
import torch

from automata_svc.datasets.types import Split
from automata_svc.errors import AutomataError, SpecError, UnknownName
from automata_svc.trials import process
from automata_svc.trials.errors import TemplateError
from automata_svc.trials.types import checkpoint_key
from tests.trials.build import (
    N_TRAIN,
    SEEN,
    MemoryBlobs,
    mlp,
    module,
    module_of,
    order,
    run,
    tabular,
    template,
    weights_in,
)


def test_reports_come_where_they_are_due_and_the_last_says_so():
    blobs = MemoryBlobs()
    driver = run(order(5, values_at={2: 0}, checkpoints_at=(1, 2)), mlp(), tabular(), blobs)
    assert [r.boundary for r in driver.reports] == [1, 2, 5]
    assert [r.done for r in driver.reports] == [False, False, True]
    assert [[p.number for p in r.passes] for r in driver.reports] == [[0], [1], [2, 3, 4]]
    assert [r.values is None for r in driver.reports] == [True, False, True]
    assert [r.checkpoint for r in driver.reports] == [
        f"checkpoints/job_1/3/{boundary}-s0.pt" for boundary in (1, 2, 5)
    ]
    assert set(blobs) == {r.checkpoint for r in driver.reports}
    assert set(driver.reports[1].values) == {"val_accuracy", "val_loss"}
    assert isinstance(driver.reports[1].values["val_accuracy"], float)


def test_a_checkpoint_is_stored_before_the_report_that_names_it():
    blobs, seen = MemoryBlobs(), []
    from automata_svc.trials.segment import run_segment

    def send(report):
        seen.append(report.checkpoint in blobs)
        return "continue"

    run_segment(order(3, checkpoints_at=(1, 2)), mlp(), tabular(), blobs, send)
    assert seen == [True, True, True]


def test_stop_unwinds_the_template_even_through_its_own_except():
    guarded = "try: trial.report(lambda split: evaluate(model, split))"
    code = mlp(report=f"{guarded}\n        except Exception: pass")
    driver = run(order(6, checkpoints_at=(1, 2, 3)), code, tabular(), stop_at=2)
    assert [r.boundary for r in driver.reports] == [1, 2]


@pytest.mark.parametrize(
    ("strategy", "rows", "every"),
    [("full", N_TRAIN, 1), ("adaptive_random", 40, 1), ("automata", 40, 2)],
)
def test_rows_that_are_charged_are_the_rows_the_model_saw(strategy, rows, every):
    """V-A6: counted by the model itself, in training and in evaluation mode."""
    code = mlp(
        top="from tests.trials.build import SEEN",
        before="model.register_forward_hook(lambda m, i, o: SEEN[m.training].append(len(o)))",
        report="trial.report(lambda split: (model.eval(), evaluate(model, split))[1])",
    )
    what = order(
        6, strategy=strategy, subset_rows=rows, every=every, values_at={2: 20, 6: 0},
        checkpoints_at=(3, 4),
    )  # fmt: skip
    SEEN.clear()
    SEEN.update({True: [], False: []})
    driver = run(what, code, tabular())
    assert sum(r.cost.train_rows for r in driver.reports) == sum(SEEN[True]) > 0
    assert sum(r.cost.forward_rows for r in driver.reports) == sum(SEEN[False]) >= 80


def test_seconds_are_metered_by_what_they_were_spent_on():
    slow = "import time\ndef evaluate_slowly(split): time.sleep(.02); return {'loss': 1.0}"
    code = mlp(top=slow, report="trial.report(evaluate_slowly)")
    (report,) = run(order(2), code, tabular()).reports
    assert report.cost.eval_seconds >= 0.02
    assert report.cost.train_seconds > 0
    assert report.cost.select_seconds > 0


def test_no_search_or_confirmation_segment_can_reach_the_test_rows():
    """V-A5: nothing that can be reached from the trial object is, or opens, the test split."""
    opened = []

    class Secret:
        def __call__(self):
            opened.append(1)
            return Split(np.zeros((1, 6), np.float32), np.zeros(1, np.int64))

    secret = Secret()
    data = replace(tabular(), open_test=secret)
    for phase in ("search", "confirm"):
        code = mlp(top="from tests.trials.build import SEEN", before="SEEN['trial'] = trial")
        driver = run(order(8, phase=phase), code, data)
        reached, todo = {}, [SEEN.pop("trial")]
        while todo:
            thing = todo.pop()
            if id(thing) in reached or isinstance(thing, type) or hasattr(thing, "__globals__"):
                continue
            if type(thing).__name__ in ("module", "dict") and "__builtins__" in dir(thing):
                continue
            reached[id(thing)] = thing
            todo.extend(gc.get_referents(thing))
        assert len(reached) > 50
        assert not any(thing is secret for thing in reached.values())
        assert not any("test" in name for r in driver.reports for name in r.values or {})
    assert opened == []


def test_the_test_phase_evaluates_the_checkpoint_on_both_splits_and_trains_nothing():
    blobs, code, data = MemoryBlobs(), mlp(), tabular()
    search = run(order(3), code, data, blobs).reports[-1]
    before = dict(blobs)
    test = order(3, frm=3, phase="test", checkpoint=search.checkpoint, segment=1, values_at={})
    (report,) = run(test, code, data, blobs).reports
    assert report.done and report.passes == () and blobs == before
    assert report.values["val_accuracy"] == search.values["val_accuracy"]
    assert set(report.values) == {"val_accuracy", "val_loss", "test_accuracy", "test_loss"}
    assert (report.cost.train_rows, report.cost.forward_rows) == (0, 110)


BROKEN = {
    "pass 0 ended without trial.report": {"report": "pass"},
    "pass 0 made no trial.step": {"step": "pass"},
    "go through all of trial.batches": {"step": "trial.step(loss, model, optimizer); break"},
    "train returned before the last pass": {
        "report": "trial.report(lambda split: evaluate(model, split)); break"
    },
    "called twice in pass 0": {"report": "trial.report(lambda s: {}); trial.report(lambda s: {})"},
    "trial.passes was called twice": {"before": "next(iter(trial.passes(model, optimizer)))"},
    "which has no state_dict": {"before": "optimizer = 3"},
    "must return metrics by name": {"report": "trial.report(lambda split: 0.9)"},
    "wrote into val rows": {"report": "trial.report(lambda split: {'a': split.x.zero_().sum()})"},
    "trial.batches is called once in each pass": {"before": "next(trial.batches(model))"},
    "trial.step is called inside": {
        "before": "trial.step(model(torch.zeros(1, 6)).sum(), model, optimizer)"
    },
}


@pytest.mark.parametrize("complaint", sorted(BROKEN))
def test_a_template_that_breaks_its_contract_is_told_how(complaint):
    with pytest.raises(TemplateError, match=complaint):
        run(order(2), mlp(**BROKEN[complaint]), tabular())


def test_an_evaluation_that_wrote_into_the_rows_spoils_no_later_trial():
    data = tabular()
    good = run(order(1), mlp(), data).reports[-1].values
    with pytest.raises(TemplateError):
        run(order(1), mlp(report="trial.report(lambda s: {'a': s.x.zero_().sum()})"), data)
    assert run(order(1), mlp(), data).reports[-1].values == good


def test_a_templates_own_error_keeps_its_own_lines_in_the_traceback():
    code = mlp(before="raise RuntimeError('out of cheese')  # here")
    with pytest.raises(RuntimeError) as caught:
        run(order(1), code, tabular())
    text = "".join(traceback.format_exception(caught.value))
    assert "raise RuntimeError('out of cheese')  # here" in text
    assert 'File "test_template.py", line' in text


def test_orders_that_make_no_sense_are_refused():
    with pytest.raises(SpecError, match="unknown parameter 'lrr'; did you mean 'lr'"):
        run(order(1, params={"lrr": 1}), mlp(), tabular())
    with pytest.raises(SpecError, match=r"params.batch_size: 1.5 is not of type int"):
        run(order(1, params={"batch_size": 1.5}), mlp(), tabular())
    with pytest.raises(AutomataError, match="no checkpoint to go on from"):
        run(order(2, frm=1), mlp(), tabular())
    with pytest.raises(AutomataError, match="a full training ends at 8"):
        run(order(9), mlp(), tabular())
    with pytest.raises(UnknownName, match="strategy 'fulll'; did you mean 'full'"):
        run(order(1, strategy="fulll"), mlp(), tabular())


SPOILER = '''
"""Leaves a mess behind."""
import random, numpy as np, torch
from automata_svc.trials import TrialParams

class Params(TrialParams):
    epochs: int = 4

def build(params, dataset):
    return None

def train(trial):
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.set_autocast_enabled("cpu", True)
    torch.autograd.set_detect_anomaly(True, check_nan=False)
    np.seterr(all="raise")
    raise KeyError("mess")
'''


def test_nothing_a_trial_leaves_behind_changes_the_next_one_in_the_same_process():
    data, code = tabular(), module("tabular_mlp")
    what = order(3, params={"dropout": 0.3, "hidden": 16})
    clean, dirty = MemoryBlobs(), MemoryBlobs()
    before = run(what, code, data, clean)
    with pytest.raises(KeyError, match="mess"):
        run(order(3), module_of(SPOILER), data)
    assert torch.get_num_threads() == 1
    after = run(what, code, data, dirty)
    assert before.passes == after.passes
    assert before.values == after.values
    assert clean == dirty


def test_globals_of_a_template_are_new_in_each_segment():
    code = mlp(top="COUNT = []", before="COUNT.append(1); assert len(COUNT) == 1")
    for _ in range(2):
        driver = run(order(1), code, tabular())
        assert driver.reports[-1].done


def test_the_callers_random_state_is_given_back():
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = process.random_states()
    run(order(2), mlp(), tabular())
    after = process.random_states()
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])


def test_looking_more_often_changes_no_weight():
    """Evaluation in the middle, with dropout and batch norm left in training mode by mistake."""
    layers = (
        "model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(.5),"
        " nn.Linear(8, 4)); optimizer = torch.optim.SGD(model.parameters(), lr=.1)"
    )
    code, data, blobs = mlp(before=layers), tabular(), MemoryBlobs()
    seldom = run(order(4), code, data, blobs).reports[-1]
    often = run(order(4, values_at={1: 0, 2: 0, 3: 10, 4: 0}, segment=1), code, data, blobs)
    assert often.reports[-1].values == seldom.values
    one, other = (weights_in(blobs, r.checkpoint) for r in (seldom, often.reports[-1]))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_trials_of_a_job_differ_and_the_same_trial_repeats_itself():
    code, data = module("tabular_mlp"), tabular()
    one, again, other = (run(order(2, trial=n), code, data).passes for n in (1, 1, 2))
    assert one == again
    assert one != other


def test_each_pass_of_each_trial_draws_its_own_numbers_wherever_it_starts():
    drawing = mlp(
        top="import random\nimport numpy as np\nfrom tests.trials.build import SEEN",
        report="SEEN[trial._order.trial, p] = ("
        "random.random(), np.random.random(), torch.rand(1).item())\n        "
        "trial.report(lambda split: evaluate(model, split))",
    )

    def drawn(what, blobs):
        SEEN.clear()
        run(what, drawing, tabular(), blobs)
        return dict(SEEN)

    blobs = MemoryBlobs()
    first, other = (drawn(order(4, trial=n, checkpoints_at=(2,)), blobs) for n in (1, 2))
    numbers = [number for found in (first, other) for draws in found.values() for number in draws]
    assert len(set(numbers)) == len(numbers) == 2 * 4 * 3
    key = checkpoint_key("job_1", 1, 2, 0)
    onward = drawn(order(4, trial=1, frm=2, segment=1, checkpoint=key), blobs)
    assert onward == {key: value for key, value in first.items() if key[1] >= 2}


def test_a_segment_run_in_a_thread_is_the_same():
    code, data, found = module("tabular_mlp"), tabular(), []
    what = order(2, params={"dropout": 0.2})
    worker = threading.Thread(target=lambda: found.append(run(what, code, data).passes))
    worker.start()
    worker.join()
    assert found == [run(what, code, data).passes]


def test_progress_is_the_share_reached_of_where_the_search_ends():
    code = mlp(
        top="from tests.trials.build import SEEN",
        report="SEEN.setdefault('at', []).append(trial.progress); trial.report(lambda s: {})",
    )
    SEEN.clear()
    run(order(4, max_share=0.25), code, tabular())
    assert SEEN["at"] == [0.5, 1.0, 1.0, 1.0]


def test_a_template_runs_with_its_own_defaults_said_aloud():
    found = template("tabular_mlp")
    driver = run(order(1, params=found.defaults), module("tabular_mlp"), tabular())
    assert driver.reports[-1].done and driver.reports[-1].boundary == 1
