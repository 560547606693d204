"""The OMP solver against exhaustive search, KKT conditions and the published code's solver."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from automata_svc.selection.gradients import FactoredGram
from automata_svc.selection.omp import DenseGram, Match, nonnegative_omp
from automata_svc.selection.types import FactoredGradients
from benchmarks.kernels import reference_v1


def solve(atoms: np.ndarray, target: np.ndarray, size: int, ridge: float = 0.0) -> Match:
    return nonnegative_omp(
        DenseGram(atoms @ atoms.T),
        atoms @ target,
        size,
        ridge=ridge,
        target_sq=float(target @ target),
    )


def objective(atoms: np.ndarray, target: np.ndarray, match: Match, ridge: float) -> float:
    error = match.weights @ atoms[match.indices] - target
    return float(error @ error + ridge * match.weights @ match.weights)


def gradient_like(n: int, seed: int, n_classes: int = 3, width: int = 4) -> np.ndarray:
    """[n, C(d+1)] last-layer gradients of a random softmax head, multiplied out."""
    rng = np.random.default_rng(seed)
    inputs = np.hstack([rng.normal(size=(n, width)), np.ones((n, 1))])
    logits = inputs @ rng.normal(size=(width + 1, n_classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p[np.arange(n), rng.integers(0, n_classes, n)] -= 1.0
    return (p[:, :, None] * inputs[:, None, :]).reshape(n, -1)


def best_objective(atoms: np.ndarray, target: np.ndarray, size: int, ridge: float) -> float:
    """Every support of `size` atoms, each solved by scipy's NNLS on [A; √λ I]."""
    best = float(target @ target)
    for support in itertools.combinations(range(len(atoms)), size):
        design = np.vstack([atoms[list(support)].T, np.sqrt(ridge) * np.eye(size)])
        _, norm = nnls(design, np.concatenate([target, np.zeros(size)]))
        best = min(best, norm**2)
    return best


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(20))
def test_the_objective_never_rises_when_an_atom_comes_in(seed: int, ridge: float) -> None:
    atoms = gradient_like(40, seed)
    match = solve(atoms, atoms.sum(axis=0), 15, ridge)
    path = np.array([float(np.sum(atoms.sum(axis=0) ** 2)), *match.objectives])
    assert np.all(np.diff(path) <= 1e-9 * path[0])
    assert path[-1] == pytest.approx(objective(atoms, atoms.sum(axis=0), match, ridge), abs=1e-8)
    error = objective(atoms, atoms.sum(axis=0), match, 0.0)  # without the ridge, whatever it was
    assert match.residual == pytest.approx(np.sqrt(error / path[0]), abs=1e-7)


def test_the_greedy_reduction_comes_close_to_the_best_of_all_supports() -> None:
    shares = []
    for seed in range(12):
        atoms = gradient_like(10, seed)
        target, ridge, size = atoms.sum(axis=0), 0.5 if seed % 2 else 1e-9, 3
        start = float(target @ target)
        ours = start - objective(atoms, target, solve(atoms, target, size, ridge), ridge)
        shares.append(ours / (start - best_objective(atoms, target, size, ridge)))
    assert min(shares) >= 0.6
    assert np.mean(shares) >= 0.9
    assert max(shares) <= 1.0 + 1e-9


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(10))
def test_the_weights_meet_the_kkt_conditions(seed: int, ridge: float) -> None:
    atoms = gradient_like(60, seed)
    target = atoms.sum(axis=0)
    match = solve(atoms, target, 60, ridge)
    descent = atoms @ (target - match.weights @ atoms[match.indices])
    scale = np.abs(atoms @ target).max()
    assert np.all(match.weights > 0.0)
    assert np.abs(descent[match.indices] - ridge * match.weights).max() <= 1e-7 * scale
    # it ended because no atom helps, or none is left
    outside = np.setdiff1d(np.arange(60), match.indices)
    assert np.all(descent[outside] <= 1e-6 * scale)


@pytest.mark.parametrize("seed", range(8))
def test_with_room_for_all_atoms_it_finds_the_nonnegative_least_squares_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms, target = rng.normal(size=(25, 40)), rng.normal(size=40)
    _, norm = nnls(atoms.T, target)
    match = solve(atoms, target, 25)
    assert match.residual * np.linalg.norm(target) == pytest.approx(norm, rel=1e-6)


def test_atoms_that_go_out_leave_a_factor_that_still_solves() -> None:
    removals = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        base = rng.normal(size=(1, 12))
        atoms, target = base + rng.normal(size=(30, 12)), rng.normal(size=12) + base[0]
        match = solve(atoms, target, 10)
        removals += len(match.objectives) - len(match.indices)
        assert np.all(np.diff(match.objectives) <= 1e-12)
        descent = atoms @ (target - match.weights @ atoms[match.indices])
        # what went out is made good: it is full, or no other atom helps
        assert len(match.indices) == 10 or np.delete(descent, match.indices).max() <= 1e-9
        design = atoms[match.indices].T
        exact = np.linalg.lstsq(design, target, rcond=None)[0]
        assert match.weights == pytest.approx(exact, rel=1e-6)
    assert removals > 0  # otherwise this tests nothing


def test_no_index_is_repeated_and_nothing_is_nan_on_degenerate_atoms() -> None:
    rng = np.random.default_rng(0)
    few = rng.normal(size=(4, 6))
    duplicated = np.vstack([few, few, few[:1] * 2.0, np.zeros((3, 6))])
    target = few.sum(axis=0)
    for size in (1, 3, 8, len(duplicated)):  # the rank is 4
        for ridge in (0.0, 0.5):
            match = solve(duplicated, target, size, ridge)
            assert len(set(match.indices.tolist())) == len(match.indices) <= size
            assert np.isfinite(match.weights).all() and np.isfinite(match.residual)
            assert not set(match.indices.tolist()) & {9, 10, 11}
    assert solve(duplicated, target, len(duplicated)).residual <= 1e-6


def test_an_atom_nearly_the_same_as_a_chosen_one_is_passed_over() -> None:
    rng = np.random.default_rng(3)
    few = rng.normal(size=(3, 8))
    near = np.vstack([few, few + 1e-7 * rng.normal(size=few.shape)])
    match = solve(near, few.sum(axis=0) + 0.1 * rng.normal(size=8), 6)
    assert np.isfinite(match.weights).all()
    assert match.weights.max() < 100.0


@pytest.mark.parametrize(("apart", "chosen"), [(3e-3, 2), (1e-5, 1)])
def test_two_atoms_are_told_apart_down_to_where_a_factor_could_not(
    apart: float, chosen: int
) -> None:
    atoms = np.array([[1.0, 0.0], [1.0, apart]])  # squared distance / squared norm: 1e-5, 1e-10
    match = solve(atoms, atoms.sum(axis=0), 2)
    assert len(match.indices) == chosen
    assert match.residual <= (1e-7 if chosen == 2 else apart)


def test_two_atoms_that_go_out_at_once_both_do() -> None:
    # The first two mirror each other, and are of no use once the third is there.
    atoms = np.array([[-3.0, -2.0, -3.0], [-3.0, 2.0, -3.0], [-1.0, 0.0, -2.0]])
    match = solve(atoms, np.array([0.0, 0.0, -3.0]), 3)
    assert len(match.objectives) == 3
    assert match.indices.tolist() == [2]
    assert match.weights == pytest.approx([1.2])


def test_no_atom_is_chosen_where_all_correlations_are_negative_or_zero() -> None:
    atoms = np.abs(np.random.default_rng(0).normal(size=(6, 4)))
    for target in (-atoms.sum(axis=0), np.zeros(4)):
        match = solve(atoms, target, 3)
        assert match.indices.tolist() == [] and match.weights.tolist() == []
        assert match.residual == pytest.approx(1.0 if target.any() else 0.0)
    assert solve(np.zeros((5, 4)), np.zeros(4), 2).indices.tolist() == []
    assert solve(np.zeros((5, 4)), np.ones(4), 2, ridge=0.5).indices.tolist() == []


def test_all_atoms_match_their_own_sum() -> None:
    atoms = gradient_like(14, 1)
    assert solve(atoms, atoms.sum(axis=0), 14).residual <= 1e-6
    assert solve(atoms, atoms.sum(axis=0), 99).residual <= 1e-6


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_an_entry_that_pins_the_sum_holds_it(ridge: float) -> None:
    """Without one the sum of the weights is not bound to anything, and is not tested."""
    for seed in range(10):
        atoms = gradient_like(80, seed)
        unit = float((atoms**2).sum(axis=1).mean())
        pinned = np.hstack([atoms, np.full((80, 1), np.sqrt(100.0 * unit))])
        match = solve(pinned, pinned.mean(axis=0), 12, ridge * unit)
        assert match.weights.sum() == pytest.approx(1.0, abs=0.01)


def test_the_lower_of_two_equal_atoms_is_chosen() -> None:
    atoms = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert solve(atoms, np.array([1.0, 0.1]), 1).indices.tolist() == [1]


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.sampled_from([0.0, 0.4]))
@hypothesis_settings(max_examples=30)
def test_scale_and_order_of_the_atoms_change_nothing_but_names(
    seed: int, scale: float, ridge: float
) -> None:
    atoms = gradient_like(25, seed, width=9)
    target = atoms.sum(axis=0)
    first = solve(atoms, target, 6, ridge)
    scaled = solve(scale * atoms, scale * target, 6, scale**2 * ridge)
    assert scaled.indices.tolist() == first.indices.tolist()
    assert scaled.weights == pytest.approx(first.weights, rel=1e-6)
    order = np.random.default_rng(seed).permutation(25)
    permuted = solve(atoms[order], target, 6, ridge)
    assert order[permuted.indices].tolist() == first.indices.tolist()
    assert permuted.weights == pytest.approx(first.weights, rel=1e-6)


def test_columns_on_demand_give_the_same_as_the_dense_matrix() -> None:
    rng = np.random.default_rng(2)
    factored = FactoredGradients(
        errors=rng.normal(size=(50, 5)).astype(np.float32),
        inputs=rng.normal(size=(50, 7)).astype(np.float32),
    )
    columns = FactoredGram(factored)
    dense = np.stack([columns.column(j) for j in range(50)])
    correlations, target_sq = columns.target()
    assert correlations == pytest.approx(dense.sum(axis=1), rel=1e-9)
    assert target_sq == pytest.approx(dense.sum(), rel=1e-9)
    a = nonnegative_omp(columns, correlations, 12, ridge=0.1, target_sq=target_sq)
    b = nonnegative_omp(DenseGram(dense), correlations, 12, ridge=0.1, target_sq=target_sq)
    assert a.indices.tolist() == b.indices.tolist()
    assert a.weights == pytest.approx(b.weights, rel=1e-9)


def test_the_residual_is_at_most_that_of_the_published_solver() -> None:
    worse = []
    for seed in range(100):
        atoms = gradient_like(50, seed, n_classes=4, width=6)
        target = atoms.sum(axis=0)
        _, _, theirs = reference_v1(atoms, target, 12)
        if solve(atoms, target, 12).residual > theirs + 1e-7:
            worse.append(seed)
    assert worse == []


def test_a_planted_sparse_signal_is_recovered() -> None:
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(60, 400))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)  # nearly orthogonal: incoherent
    planted = rng.choice(60, 8, replace=False)
    weights = rng.uniform(1.0, 2.0, 8)
    match = solve(atoms, weights @ atoms[planted], 20)
    found = dict(zip(match.indices.tolist(), match.weights.tolist(), strict=True))
    assert set(found) == set(planted.tolist())
    assert [found[j] for j in planted.tolist()] == pytest.approx(weights.tolist(), rel=1e-9)
