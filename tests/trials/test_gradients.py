"""Last-layer gradients: right, found without help, and without a trace on the training."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss

from automata_svc.trials.errors import HeadNotFound, TemplateError
from automata_svc.trials.gradients import last_layer_gradients
from automata_svc.trials.process import random_states

ROWS = np.array([3, 0, 11, 7, 29], dtype=np.int64)


class LogProbabilities(nn.Module):
    """A model that returns log-probabilities, not logits."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(5, 6)
        self.out = nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return torch.log_softmax(self.out(torch.tanh(self.body(x))), dim=1)


def problem(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 3)
    )
    x, y = torch.randn(30, 5), torch.randint(0, 3, (30,))
    model(x)  # batch norm has seen something
    return model, x, y


def explicit(model, head, x, y, loss):
    """One backward pass for each row, by autograd alone."""
    found = []
    for row in ROWS:
        parameters = [head.weight, *([head.bias] if head.bias is not None else [])]
        total = loss(model(x[[row]]), y[[row]]).sum()
        grads = torch.autograd.grad(total, parameters)
        found.append(torch.cat([g.reshape(len(head.weight), -1) for g in grads], dim=1))
    return torch.stack(found)


def multiplied(factored):
    inputs = factored.inputs
    if factored.bias:
        inputs = np.concatenate([inputs, np.ones((len(inputs), 1), dtype=np.float32)], axis=1)
    return torch.from_numpy(factored.errors[:, :, None] * inputs[:, None, :])


def test_they_are_the_gradients_of_the_head_for_each_row():
    model, x, y = problem()
    found = last_layer_gradients(model, x, y, ROWS)
    expected = explicit(model.eval(), model[4], x, y, lambda o, t: cross_entropy(o, t))
    torch.testing.assert_close(multiplied(found), expected)


def test_a_head_and_loss_said_by_hand_serve_a_model_that_returns_something_else():
    torch.manual_seed(1)
    model, x, y = LogProbabilities(), torch.randn(30, 5), torch.randint(0, 3, (30,))

    def loss(output, labels):
        return nll_loss(output, labels, reduction="none")

    found = last_layer_gradients(model, x, y, ROWS, head=model.out, loss=loss)
    assert not found.bias
    torch.testing.assert_close(multiplied(found), explicit(model, model.out, x, y, loss))
    p = torch.exp(model(x[ROWS])) - nn.functional.one_hot(y[ROWS], 3)
    torch.testing.assert_close(torch.from_numpy(found.errors), p.detach())


def test_a_head_that_is_not_found_names_the_candidates():
    model, x, y = LogProbabilities(), torch.randn(30, 5), torch.zeros(30, dtype=torch.long)
    with pytest.raises(HeadNotFound, match=r"head=.*body \(5→6\), out \(6→3\)"):
        last_layer_gradients(model, x, y, ROWS)


def test_a_head_that_sees_many_positions_a_row_is_refused():
    model = nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Linear(1, 3))
    x, y = torch.randn(30, 5), torch.zeros(30, dtype=torch.long)
    with pytest.raises(TemplateError, match="one input and one output of the head per row"):
        last_layer_gradients(
            model, x, y, ROWS, head=model[1], loss=lambda o, t: cross_entropy(
                o.mean(1), t, reduction="none"
            )
        )  # fmt: skip


def test_looking_at_gradients_leaves_no_trace():
    """V-G10."""
    model, x, y = problem()
    model[3].eval()  # a flag of its own among training ones
    optimizer = torch.optim.Adam(model.parameters())
    cross_entropy(model(x), y).backward()
    optimizer.step()
    state, optimizer_state = (
        copy.deepcopy(model.state_dict()),
        copy.deepcopy(optimizer.state_dict()),
    )
    grads = [p.grad.clone() for p in model.parameters()]
    flags = [m.training for m in model.modules()]
    before = random_states()

    class Noisy(nn.Module):
        """Draws from every global generator, and keeps count, when it is run."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, rows):
            self.calls += 1
            torch.rand(3), random.random(), np.random.rand()
            return self.inner(rows)

    noisy = Noisy(model)
    last_layer_gradients(noisy, x, y, ROWS)
    assert noisy.calls == 0
    after = random_states()
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])
    assert [m.training for m in model.modules()] == flags
    assert torch.is_grad_enabled()
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, model.parameters(), strict=True))
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert str(optimizer.state_dict()) == str(optimizer_state)
    assert not any(m._forward_hooks for m in noisy.modules())


def test_rows_are_looked_at_in_chunks_and_come_back_in_order(monkeypatch):
    model, x, y = problem()
    whole = last_layer_gradients(model, x, y, ROWS)
    monkeypatch.setattr("automata_svc.trials.gradients.CHUNK_ROWS", 2)
    parts = last_layer_gradients(model, x, y, ROWS)
    np.testing.assert_allclose(whole.errors, parts.errors, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.inputs, parts.inputs, rtol=1e-5, atol=1e-6)
