"""What a step applies and records: gradient norm, finish, clipping, non-finite losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from automata_svc.trials import fast_step
from automata_svc.trials.steps import Finish, Stepper, global_norm, stat
from automata_svc.trials.types import PassTable, Stat
from automata_svc.trials.weights import unit_weights, weighted_mean
from tests.trials.build import RATES, MemoryBlobs, mlp, order, run, tabular


def problem(n=24):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    return model, torch.randn(n, 5), torch.randint(0, 3, (n,))


def independent_norm(model, x, y):
    grads = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
    return torch.cat([g.double().flatten() for g in grads]).norm().item()


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_the_recorded_gradient_norm_is_autograds_own_before_clipping(clip):
    """V-S1."""
    model, x, y = problem()
    expected = independent_norm(model, x, y)
    stepper = Stepper(Finish(PassTable(100, 100, 1), 0.2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    assert stepper.step(cross_entropy(model(x), y), model, optimizer, 0, clip)
    assert stepper.norms == [pytest.approx(expected, rel=1e-6)]
    moved = global_norm([p.detach() - b for p, b in zip(model.parameters(), before, strict=True)])
    assert moved == pytest.approx(0.1 * (clip or expected), rel=1e-4)
    assert all(p.grad is None for p in model.parameters())


def test_the_norm_is_the_same_however_gradients_are_accumulated():
    """V-S1: micro-batches before the last are the template's own backward."""
    model, x, y = problem()
    expected = independent_norm(model, x, y)
    stepper = Stepper(Finish(PassTable(100, 100, 1), 0.0))
    (cross_entropy(model(x[:8]), y[:8]) / 3).backward()
    (cross_entropy(model(x[8:16]), y[8:16]) / 3).backward()
    last = cross_entropy(model(x[16:]), y[16:]) / 3
    stepper.step(last, model, torch.optim.SGD(model.parameters(), lr=0.1), 0, None)
    assert stepper.norms[0] == pytest.approx(expected, rel=1e-5)


def test_many_tensors_give_the_same_norm_as_few():
    tensors = [torch.randn(3, 4) for _ in range(40)]
    expected = torch.cat([t.flatten() for t in tensors]).norm().item()
    assert global_norm(tensors) == pytest.approx(expected, rel=1e-6)
    assert math.hypot(global_norm(tensors[:9]), global_norm(tensors[9:])) == pytest.approx(
        expected, rel=1e-6
    )


def test_a_weighted_loss_is_the_same_however_rows_fall_into_equal_batches():
    """V-S2."""
    losses, weights = torch.rand(24), torch.rand(24) * 2
    whole = weighted_mean(losses, weights)
    parts = [weighted_mean(a, b) for a, b in zip(losses.split(6), weights.split(6), strict=True)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())
    exact = weighted_mean(losses.double(), weights)  # of another type: the long way round
    torch.testing.assert_close(exact, whole.double(), rtol=1e-5, atol=0)


def test_unit_weights_give_the_plain_mean():
    losses = torch.rand(7)
    ones = unit_weights(7, torch.device("cpu"))
    torch.testing.assert_close(weighted_mean(losses, ones), losses.mean())
    torch.testing.assert_close(weighted_mean(losses, torch.ones(7)), losses.mean())
    with pytest.raises(ValueError, match="one loss per"):
        weighted_mean(losses.mean(), ones)


def rates(finish, top="", to=8):
    """The learning rate of each step, as the optimizer saw it."""
    RATES.clear()
    hook = "lambda o, args, kwargs: RATES.append(o.param_groups[0]['lr'])"
    code = mlp(
        before=f"optimizer.register_step_pre_hook({hook})",
        top=f"from tests.trials.build import RATES\n{top}",
    )
    run(order(to, epochs=4, finish=finish), code, tabular())
    return list(RATES)


def test_over_the_finish_the_rate_goes_linearly_to_zero():
    seen = rates(0.2)
    total, start = 4 * 160, 0.8 * 4 * 160
    expected = [0.1 * min(1.0, (total - rows) / (total - start)) for rows in range(0, total, 16)]
    assert len(seen) == 40
    assert seen == pytest.approx(expected, rel=1e-12)
    assert seen[31] == 0.1
    assert seen[-1] == pytest.approx(0.1 * 16 / 128)


def test_a_template_with_a_schedule_of_its_own_is_left_alone():
    assert set(rates(0.2, top="OWN_SCHEDULE = True")) == {0.1}


OPTIMIZERS = [
    "SGD(model.parameters(), lr=.1, momentum=.9, nesterov=True, weight_decay=.01, fused=True)",
    "SGD(model.parameters(), lr=.1, fused=True)",
    "Adam(model.parameters(), lr=.01, weight_decay=.1, fused=True)",
    "AdamW([{'params': model[0].parameters()}, {'params': model[2].parameters(), 'lr': .1}],"
    " lr=.01, fused=True)",
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_fast_step_is_torchs_own_bit_for_bit(optimizer, monkeypatch):
    taken = []
    plain = fast_step.step
    monkeypatch.setattr(fast_step, "step", lambda *a: (taken.append(plain(*a)), taken[-1])[1])
    fast, slow = MemoryBlobs(), MemoryBlobs()
    make = f"optimizer = torch.optim.{optimizer}"
    hooked = f"{make}; optimizer.register_step_pre_hook(lambda *a: None)"
    run(order(8, finish=0.5), mlp(before=make), tabular(), fast)
    assert taken.count(True) >= 39  # all but the step that makes the state
    taken.clear()
    run(order(8, finish=0.5), mlp(before=hooked), tabular(), slow)
    assert not any(taken)
    assert fast == slow


@pytest.mark.parametrize(
    "make",
    [
        "SGD(model.parameters(), lr=.1)",
        "SGD([*model.parameters(), torch.nn.Parameter(torch.ones(2))], lr=.1, fused=True)",
        "Adam(model.parameters(), amsgrad=True, fused=True)",
        "RMSprop(model.parameters())",
    ],
)
def test_other_optimizers_take_their_own_step(make):
    driver = run(order(4), mlp(before=f"optimizer = torch.optim.{make}"), tabular())
    assert driver.passes[-1].loss.median < driver.passes[0].loss.median


def test_a_schedule_of_torchs_still_sees_each_step():
    schedule = "schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, .5)"
    code = mlp(
        before=f"optimizer = torch.optim.SGD(model.parameters(), lr=.1, fused=True); {schedule}",
        report="schedule.step(); trial.report(lambda s: {'lr': optimizer.param_groups[0]['lr']})",
    )
    assert run(order(2, finish=0), code, tabular()).values[2] == {"val_lr": 0.025}


def test_no_finish_means_the_same_rate_to_the_end():
    assert set(rates(0.0)) == {0.1}


def test_the_finish_leaves_the_rate_in_the_checkpoint_as_it_was():
    import io

    blobs = MemoryBlobs()
    done = run(order(8, finish=0.5), mlp(), tabular(), blobs)
    body = torch.load(io.BytesIO(blobs[done.reports[-1].checkpoint]), weights_only=True)
    assert body["states"][1]["param_groups"][0]["lr"] == 0.1


@pytest.mark.parametrize("bad", ["loss * float('nan')", "loss * float('inf')"])
def test_a_loss_that_is_not_finite_ends_the_segment_and_is_not_applied(bad):
    step = f"trial.step({bad} if p == 2 and trial.progress > .27 else loss, model, optimizer)"
    driver = run(order(6, checkpoints_at=(1, 2)), mlp(step=step), tabular())
    last = driver.reports[-1]
    assert (last.trip, last.done, last.boundary) == ("non_finite", True, 2)
    assert last.values is None
    assert last.passes[-1].number == 2
    assert last.passes[-1].non_finite == 1
    assert last.passes[-1].rows == 16  # the one step before it
    assert last.passes[-1].loss is not None


def test_a_gradient_that_is_not_finite_trips_though_the_loss_is():
    step = "trial.step(loss + (model[0].weight[0, 0] * 0).sqrt(), model, optimizer)"
    driver = run(order(2), mlp(step=step), tabular())
    assert driver.reports[-1].trip == "non_finite"
    assert driver.reports[-1].passes[0].loss is None


def test_a_statistic_is_the_last_the_median_and_the_largest():
    assert stat([3.0, 1.0, 9.0, 2.0]) == Stat(last=2.0, median=2.5, max=9.0)
    assert stat([]) is None


def test_statistics_of_a_pass_are_those_of_its_steps():
    blobs = MemoryBlobs()
    driver = run(order(1, slices=1), mlp(), tabular(), blobs)
    (p,) = driver.passes
    assert (p.number, p.rows, p.steps, p.non_finite) == (0, 160, 10, 0)
    assert p.loss.median <= p.loss.max
    assert p.grad_norm.last <= p.grad_norm.max
