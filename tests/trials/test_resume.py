"""V-A3: pausing at any boundary and going on from the checkpoint changes nothing, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automata_svc.trials.errors import CheckpointMismatch
from tests.trials.build import DATA, N_TRAIN, MemoryBlobs, mlp, module, order, run, tabular

SUBSETS = {  # strategy → subset rows, slices, walks between selections
    "full": (N_TRAIN, 3, 1),
    "adaptive_random": (48, 2, 1),
    "automata": (48, 2, 2),
}


@pytest.mark.parametrize("strategy", sorted(SUBSETS))
@pytest.mark.parametrize(
    ("name", "kind"), [("tabular_mlp", "tabular"), ("text_classifier", "text")]
)
def test_a_trial_paused_at_any_boundary_ends_as_if_it_had_not_been(name, kind, strategy):
    rows, slices, every = SUBSETS[strategy]
    code, data, last = module(name), DATA[kind](), 7
    params = {"hidden": 8, "dropout": 0.2, "batch_size": 16}
    if name == "text_classifier":
        params |= {"embedding": 6}
    whole = order(
        last, strategy=strategy, subset_rows=rows, slices=slices, every=every, epochs=3,
        params=params, checkpoints_at=tuple(range(1, last)), values_at={2: 20, 5: 0, last: 0},
    )  # fmt: skip
    blobs = MemoryBlobs()
    straight = run(whole, code, data, blobs)
    for pause in range(1, last):
        first = run(whole, code, data, blobs, stop_at=pause)
        assert first.reports[-1].boundary == pause
        key = first.reports[-1].checkpoint
        rest = run(
            replace(whole, from_boundary=pause, checkpoint=key, segment=1), code, data, blobs
        )
        assert first.passes + rest.passes == straight.passes
        assert {**first.values, **rest.values} == straight.values
        assert blobs[rest.reports[-1].checkpoint] == blobs[straight.reports[-1].checkpoint]


def test_batch_norm_and_a_schedule_of_the_templates_own_go_on_too():
    code = mlp(
        before=(
            "model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(.3),"
            " nn.Linear(8, 4)); optimizer = torch.optim.AdamW(model.parameters(), lr=.01);"
            " schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, .5);"
            " passes = trial.passes; trial.passes = lambda *a: passes(model, optimizer, schedule)"
        ),
        report="schedule.step(); trial.report(lambda split: evaluate(model, split))",
    )
    blobs, whole = MemoryBlobs(), order(6, checkpoints_at=(3,), finish=0.5, epochs=3)
    straight = run(whole, code, tabular(), blobs)
    key = straight.reports[0].checkpoint
    rest = run(replace(whole, from_boundary=3, checkpoint=key, segment=1), code, tabular(), blobs)
    assert straight.passes[3:] == rest.passes
    assert straight.values[6] == rest.values[6]


def test_a_learning_rate_that_numpy_made_goes_on_as_one():
    code = mlp(
        top="import numpy as np",
        step=(
            "optimizer.param_groups[0]['lr'] = .1 * np.cos(trial.progress);"
            " trial.step(loss, model, optimizer)"
        ),
    )
    blobs, whole = MemoryBlobs(), order(6, checkpoints_at=(3,))
    straight = run(whole, code, tabular(), blobs)
    key = straight.reports[0].checkpoint
    rest = run(replace(whole, from_boundary=3, checkpoint=key, segment=1), code, tabular(), blobs)
    assert straight.passes[3:] == rest.passes
    assert blobs[rest.reports[-1].checkpoint] == blobs[straight.reports[-1].checkpoint]


def test_a_state_that_is_no_plain_data_is_named_where_it_is_read():
    holder = """
import collections
class Window:
    def state_dict(self): return {"losses": collections.deque([1.0])}
    def load_state_dict(self, state): pass
"""
    code = mlp(
        top=holder,
        before="passes = trial.passes; trial.passes = lambda *a: passes(*a, Window())",
    )
    blobs, whole = MemoryBlobs(), order(3)
    key = run(whole, code, tabular(), blobs).reports[-1].checkpoint
    with pytest.raises(CheckpointMismatch, match=r"it holds collections\.deque, and only tensors"):
        run(order(6, frm=3, checkpoint=key, segment=1), code, tabular(), blobs)


def test_a_confirmation_goes_on_from_a_rung_on_all_rows():
    blobs, code, data = MemoryBlobs(), mlp(), tabular()
    search = run(order(4, strategy="automata", subset_rows=48), code, data, blobs)
    at = search.reports[-1]
    table = replace(order(1).table, first_pass=4, first_rows=96)
    confirm = order(
        table.last, frm=4, phase="confirm", table=table, checkpoint=at.checkpoint, segment=1
    )
    done = run(confirm, code, data, blobs)
    assert sum(p.rows for p in done.passes) == 4 * N_TRAIN - 96
    assert done.reports[-1].values["val_accuracy"] > 0.7


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("model[2] = nn.Linear(8, 5)", r"Sequential '2.weight' is \[4, 8\], not \[5, 8\]"),
        ("model.append(nn.Linear(4, 4))", "Sequential '3.weight' is missing"),
        ("optimizer = torch.optim.Adam(model.parameters())", "SGD"),
        ("optimizer = torch.optim.SGD(model[0].parameters(), lr=1)", "unknown to it"),
    ],
)
def test_a_checkpoint_of_another_model_or_optimizer_is_refused_by_name(change, complaint):
    blobs, data = MemoryBlobs(), tabular()
    key = run(order(2), mlp(), data, blobs).reports[-1].checkpoint
    with pytest.raises(CheckpointMismatch, match=complaint):
        run(order(4, frm=2, checkpoint=key, segment=1), mlp(before=change), data, blobs)


def test_a_checkpoint_of_another_batch_size_or_boundary_is_refused():
    blobs, data = MemoryBlobs(), tabular()
    key = run(order(2), mlp(), data, blobs).reports[-1].checkpoint
    with pytest.raises(CheckpointMismatch, match="the batch size is 16, not 8"):
        run(order(4, frm=2, checkpoint=key, params={"batch_size": 8}), mlp(), data, blobs)
    with pytest.raises(CheckpointMismatch, match="pass boundary is 2, not 1"):
        run(order(4, frm=1, checkpoint=key), mlp(), data, blobs)


def test_damaged_bytes_are_refused():
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        run(order(4, frm=2, checkpoint="x"), mlp(), tabular(), MemoryBlobs(x=b"not a checkpoint"))
