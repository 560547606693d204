"""Averaged weights: what they are, what is seen through them, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from automata_svc.trials.average import EVERY, HORIZON, WeightAverage
from tests.trials.build import (
    MLP,
    SEEN,
    MemoryBlobs,
    mlp,
    module_of,
    order,
    run,
    tabular,
    weights_in,
)


def test_weights_seen_late_count_by_the_power_of_the_horizon():
    """Against the definition: with h, the mean of s under the density s^(1/h − 1) on [0, 1]."""
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage()
    average.watch(model)
    for rows in range(1, 20_001):
        with torch.no_grad():
            model.weight.fill_(rows / 20_000)
        average.update(rows)
    with average.in_place():
        assert model.weight.item() == pytest.approx(1 / (1 + HORIZON), abs=1e-3)
    assert model.weight.item() == 1.0


def test_counting_the_same_rows_again_changes_nothing():
    model = nn.Linear(3, 2)
    average = WeightAverage()
    average.watch(model)
    average.update(10)
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(12)
    once = {name: tensor.clone() for name, tensor in average.state()["weights"].items()}
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(12)
    for name, tensor in average.state()["weights"].items():
        assert torch.equal(tensor, once[name])


def test_a_model_has_its_own_weights_again_to_the_bit_even_after_an_error():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    average = WeightAverage()
    average.watch(model)
    average.update(5)
    model(torch.randn(8, 4))  # running statistics and their counter move
    with torch.no_grad():
        model[0].weight.mul_(1.7)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="in between"), average.in_place():
        assert not torch.equal(model[0].weight, own["0.weight"])
        assert torch.equal(model[1].num_batches_tracked, own["1.num_batches_tracked"])
        raise RuntimeError("in between")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, own[name])


def values_of(lr: float, average: bool, **changes):
    blobs = MemoryBlobs()
    what = order(6, params={"lr": lr}, values_at={2: 0, 6: 0}, average=average, **changes)
    return run(what, mlp(), tabular(), blobs), blobs


def test_averaging_changes_no_weight_of_the_training():
    plain, plain_blobs = values_of(0.3, average=False)
    kept, kept_blobs = values_of(0.3, average=True)
    assert plain.passes == kept.passes
    for one, other in zip(plain.reports, kept.reports, strict=True):
        own, same = (
            weights_in(b, r.checkpoint) for b, r in ((plain_blobs, one), (kept_blobs, other))
        )
        assert all(torch.equal(own[name], same[name]) for name in own)
        assert one.cost.forward_rows == other.cost.forward_rows == 60  # one look each
    assert plain.reports[-1].values != kept.reports[-1].values


def test_a_value_is_that_of_the_weights_averaged_over_the_steps():
    """An oracle that averages as the definition says, from weights written down on the way."""
    SEEN["steps"], SEEN["model"] = [], None
    step = (
        "SEEN['model'] = model; SEEN['steps'].append([p.detach().clone() for p in "
        "model.parameters()]); trial.step(loss, model, optimizer)"
    )
    code = mlp(step=step, top="from tests.trials.build import SEEN")
    what = order(4, params={"lr": 0.3}, values_at={4: 0}, average=True)
    found = run(what, code, tabular()).reports[-1].values
    per_pass = len(SEEN["steps"]) // 4
    rows = [p * 80 + i * 16 for p in range(4) for i in range(per_pass)]
    last = [p.detach().clone() for p in SEEN["model"].parameters()]
    mean, at = SEEN["steps"][0], 0
    for number, (r, weights) in enumerate(zip([*rows, 320], [*SEEN["steps"], last], strict=True)):
        ends = r % 80 == 0  # the end of a pass, which is where the next begins
        if not ends and number % per_pass % EVERY:
            continue
        part = min(1.0, (r - at) / (HORIZON * r)) if r > at else 0.0
        mean = [m.lerp(w, part) for m, w in zip(mean, weights, strict=True)]
        at = r
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        for p, m in zip(model.parameters(), mean, strict=True):
            p.copy_(m)
        val = tabular().val
        loss = cross_entropy(model(torch.tensor(val.x)), torch.tensor(val.y))
    assert found["val_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_at_share_1_a_value_is_that_of_the_weights_that_are_delivered():
    blobs = MemoryBlobs()
    end = order(8, params={"lr": 0.3}, values_at={6: 0, 8: 0}, average=True)
    below, found = run(end, mlp(), tabular(), blobs).reports
    looked_at = order(
        8, frm=8, segment=1, params={"lr": 0.3}, phase="test", checkpoint=found.checkpoint
    )
    (delivered,) = run(looked_at, mlp(), tabular(), blobs).reports
    assert {name: delivered.values[name] for name in found.values} == found.values
    plain = order(8, params={"lr": 0.3}, values_at={6: 0, 8: 0}, average=False)
    assert below.values != run(plain, mlp(), tabular()).reports[0].values


def test_an_average_goes_on_through_a_checkpoint_as_if_nothing_had_happened():
    # Batches so small that what was seen before the checkpoint still counts at the end.
    params, blobs = {"lr": 0.03, "batch_size": 2}, MemoryBlobs()
    whole = order(3, params=params, values_at={2: 0, 3: 0}, average=True)
    straight = run(whole, mlp(), tabular(), blobs)
    onward = order(
        3, frm=2, segment=1, params=params, values_at={3: 0}, average=True,
        checkpoint=straight.reports[0].checkpoint,
    )  # fmt: skip
    rest = run(onward, mlp(), tabular(), blobs)
    assert rest.reports[-1].values == straight.reports[-1].values
    assert blobs[rest.reports[-1].checkpoint] == blobs[straight.reports[-1].checkpoint]


def test_a_checkpoint_without_an_average_starts_one():
    plain, blobs = values_of(0.3, average=False)
    onward = order(
        3, frm=2, segment=1, params={"lr": 0.3}, values_at={3: 0}, average=True,
        checkpoint=plain.reports[0].checkpoint,
    )  # fmt: skip
    found = run(onward, mlp(), tabular(), blobs).reports[-1].values
    assert np.isfinite(found["val_loss"])


def test_where_the_model_is_no_module_values_are_those_of_its_weights_as_they_are():
    held = """
class Held:
    def __init__(self, model): self.model = model
    def state_dict(self): return self.model.state_dict()
    def load_state_dict(self, state): self.model.load_state_dict(state)
"""
    source = MLP.replace("trial.passes(model,", "trial.passes(Held(model),")
    words = {"step": "trial.step(loss, model, optimizer)", "before": "pass", "top": held}
    words["report"] = "trial.report(lambda split: evaluate(model, split))"
    wrapped = module_of(source.format(**words))
    averaged, plain = (
        order(4, params={"lr": 0.3}, values_at={4: 0}, average=on) for on in (True, False)
    )
    found = run(averaged, wrapped, tabular()).reports[-1].values
    assert found == run(plain, mlp(), tabular()).reports[-1].values
