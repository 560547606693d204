"""Factored products against gradients that torch computes row by row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap

from automata_svc.selection import gradients as module
from automata_svc.selection.errors import SelectionError
from automata_svc.selection.gradients import FactoredGram, atom_gram, check_gradients, mismatch
from automata_svc.selection.types import FactoredGradients

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
N, C, D = 12, 3, 4


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return (labels[..., None] == torch.arange(C)).double()


def smoothed(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, label, label_smoothing=0.1)


def bce(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits, one_hot(label), reduction="sum"
    )


# loss of one row, and its error at the logits in closed form
LOSSES: dict[str, tuple[Loss, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "cross entropy": (
        torch.nn.functional.cross_entropy,
        lambda logits, labels: logits.softmax(1) - one_hot(labels),
    ),
    "label smoothing": (
        smoothed,
        lambda logits, labels: logits.softmax(1) - (0.9 * one_hot(labels) + 0.1 / C),
    ),
    "binary cross entropy": (bce, lambda logits, labels: logits.sigmoid() - one_hot(labels)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_factored_products_are_those_of_per_row_autograd(
    name: str, bias: bool, dtype: torch.dtype
) -> None:
    loss, closed_form = LOSSES[name]
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(D, C, bias=bias, dtype=torch.float64)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    inputs = torch.randn(N, D, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, C, (N,), generator=generator)

    def row_loss(params: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(functional_call(head, params, (x,)), y)

    params = {key: value.detach() for key, value in head.named_parameters()}
    per_row = vmap(grad(row_loss), in_dims=(None, 0, 0))(params, inputs, labels)
    explicit = torch.cat([per_row[key].reshape(N, -1) for key in params], dim=1).numpy()
    errors = closed_form(head(inputs).detach(), labels)
    factored = FactoredGradients(errors.to(dtype).numpy(), inputs.to(dtype).numpy(), bias=bias)
    gram = FactoredGram(factored)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    expected = explicit @ explicit.T
    columns = np.stack([gram.column(j) for j in range(N)])
    assert columns == pytest.approx(expected, abs=tolerance)
    assert gram.diagonal() == pytest.approx(np.diag(expected), abs=tolerance)
    correlations, target_sq = gram.target()
    assert correlations == pytest.approx(expected.sum(axis=1), abs=N * tolerance)
    assert target_sq == pytest.approx(expected.sum(), abs=N * N * tolerance)


def random_gradients(n: int, seed: int = 0, bias: bool = True) -> FactoredGradients:
    rng = np.random.default_rng(seed)
    return FactoredGradients(
        errors=rng.normal(size=(n, 3)).astype(np.float32),
        inputs=rng.normal(size=(n, 5)).astype(np.float32),
        bias=bias,
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("by_pairs", [True, False])
def test_a_batch_gradient_product_is_the_mean_over_pairs_of_rows(
    bias: bool, by_pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    factored = random_gradients(40, bias=bias)
    bounds = np.array([0, 8, 16, 23, 31, 40])
    rows = FactoredGram(factored)
    full = np.stack([rows.column(j) for j in range(40)])
    expected = [
        [full[a:b, c:d].mean() for c, d in zip(bounds[:-1], bounds[1:], strict=True)]
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    if by_pairs:
        monkeypatch.setattr(module, "MAX_ATOM_FLOATS", 0)
        monkeypatch.setattr(module, "PAIR_FLOATS", 800)  # a few batches at a time
    assert atom_gram(factored, bounds) == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_a_mismatch_is_that_of_the_gradients_multiplied_out(bias: bool) -> None:
    factored = random_gradients(30, bias=bias)
    inputs = np.hstack([factored.inputs, np.full((30, 1), float(bias))])
    explicit = (factored.errors[:, :, None] * inputs[:, None, :]).reshape(30, -1)
    places, weights = np.array([3, 7, 21]), np.array([0.5, 2.0, 0.5], dtype=np.float32)
    target = explicit.mean(axis=0)
    off = np.linalg.norm(weights @ explicit[places] / 3 - target) / np.linalg.norm(target)
    assert mismatch(factored, places, weights) == pytest.approx(off, rel=1e-5)


def test_batches_of_one_row_are_the_rows() -> None:
    factored = random_gradients(9)
    rows = FactoredGram(factored)
    gram = atom_gram(factored, np.arange(10))
    assert gram == pytest.approx(np.stack([rows.column(j) for j in range(9)]), abs=1e-5)


def test_a_gradient_that_is_not_finite_names_its_row() -> None:
    factored = random_gradients(4)
    factored.errors[2, 1] = np.nan
    with pytest.raises(SelectionError, match=r"row 70 is not finite"):
        check_gradients(factored, np.array([50, 60, 70, 80]))


def test_missing_gradients_are_an_error() -> None:
    with pytest.raises(SelectionError, match="of 5 rows were asked for; 4 errors and 4 inputs"):
        check_gradients(random_gradients(4), np.arange(5))


def test_products_that_overflow_are_an_error_and_not_a_nan() -> None:
    factored = random_gradients(6)
    huge = FactoredGradients(factored.errors * np.float32(1e30), factored.inputs * np.float32(1e30))
    with pytest.raises(SelectionError, match="too large"):
        atom_gram(huge, np.array([0, 3, 6]))
