"""Graph cut without a kernel against its definition, exhaustive search and submodlib."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from automata_svc.selection import graph_cut
from automata_svc.selection.graph_cut import inverse_norms, stochastic_greedy
from automata_svc.selection.types import keyed_rng

GREEDY = 1e-300  # looks at all rows for every pick, as long as k < n · 690


def kernel_of(z: np.ndarray) -> np.ndarray:
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    return (1.0 + unit @ unit.T) / 2.0


def value(kernel: np.ndarray, chosen: list[int], lam: float) -> float:
    """f(A) as it is defined, on the dense kernel."""
    return float(kernel[:, chosen].sum() - lam * kernel[np.ix_(chosen, chosen)].sum())


def grow(
    z: np.ndarray, size: int, *, lam: float = 0.4, epsilon: float = GREEDY, seeds: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    return stochastic_greedy(
        z,
        inverse_norms(z),
        np.arange(len(z)),
        size,
        lam=lam,
        epsilon=epsilon,
        rngs=[keyed_rng(7, r) for r in range(seeds)],
    )


@pytest.mark.parametrize("epsilon", [GREEDY, 0.1])
def test_gains_are_those_of_the_dense_kernel_and_add_up_to_f(epsilon: float) -> None:
    z = np.random.default_rng(0).normal(size=(60, 8)) * 3.0
    kernel = kernel_of(z)
    picks, gains = grow(z, 12, epsilon=epsilon, seeds=3)
    for chosen, steps in zip(picks.tolist(), gains, strict=True):
        values = [value(kernel, chosen[:t], 0.4) for t in range(13)]
        assert steps == pytest.approx(np.diff(values), abs=1e-10)
        assert steps.sum() == pytest.approx(values[-1], abs=1e-9)


def test_picks_of_plain_greedy_are_those_of_the_dense_kernel() -> None:
    z = np.random.default_rng(1).normal(size=(120, 10))
    kernel = kernel_of(z)
    chosen: list[int] = []
    for _ in range(25):
        rest = [j for j in range(120) if j not in chosen]
        chosen.append(max(rest, key=lambda j: value(kernel, [*chosen, j], 0.4)))
    assert grow(z, 25)[0][0].tolist() == chosen


@pytest.mark.parametrize("lam", [0.2, 0.4])
def test_picks_of_plain_greedy_are_those_of_submodlib(lam: float) -> None:
    submodlib = pytest.importorskip(
        "submodlib", reason="submodlib has no build for this Python; its picks are the oracle"
    )
    z = np.random.default_rng(2).normal(size=(80, 6)).astype(np.float32)
    function = submodlib.GraphCutFunction(
        n=80,
        mode="dense",
        lambdaVal=lam,
        ggsijs=kernel_of(z.astype(np.float64)),
        separate_rep=False,
    )
    theirs = [j for j, _ in function.maximize(budget=10, optimizer="NaiveGreedy")]
    assert grow(z.astype(np.float64), 10, lam=lam)[0][0].tolist() == theirs


def test_greedy_reaches_its_bound_on_every_tiny_instance() -> None:
    for seed in range(10):
        z = np.random.default_rng(seed).normal(size=(10, 3))
        kernel = kernel_of(z)
        best = max(value(kernel, list(a), 0.4) for a in itertools.combinations(range(10), 4))
        assert value(kernel, grow(z, 4)[0][0].tolist(), 0.4) >= (1 - 1 / math.e) * best


@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_stochastic_greedy_reaches_its_bound_on_average(epsilon: float) -> None:
    z = np.random.default_rng(4).normal(size=(12, 3))
    kernel = kernel_of(z)
    best = max(value(kernel, list(a), 0.4) for a in itertools.combinations(range(12), 4))
    picks, _ = grow(z, 4, epsilon=epsilon, seeds=40)
    mean = np.mean([value(kernel, chosen, 0.4) for chosen in picks.tolist()])
    assert mean >= (1 - 1 / math.e - epsilon) * best


def test_graph_cut_is_submodular_and_up_to_a_half_monotone() -> None:
    rng = np.random.default_rng(5)
    fell = False
    for _ in range(200):
        kernel = kernel_of(rng.normal(size=(9, 3)))
        *larger, j = rng.permutation(9)[: rng.integers(3, 9)].tolist()
        smaller = larger[: rng.integers(1, len(larger))]
        for lam in (0.0, 0.4, 0.5, 1.0):
            near = value(kernel, [*smaller, j], lam) - value(kernel, smaller, lam)
            far = value(kernel, [*larger, j], lam) - value(kernel, larger, lam)
            assert near >= far - 1e-12
            if lam <= 0.5:
                assert far >= -1e-12
            fell |= far < 0.0
    assert fell  # with λ = 1, where monotonicity ends


def test_seeds_give_different_subsets_and_the_same_seed_the_same() -> None:
    z = np.random.default_rng(6).normal(size=(300, 8)).astype(np.float32)
    picks, _ = grow(z, 30, epsilon=0.1, seeds=6)
    again, _ = grow(z, 30, epsilon=0.1, seeds=6)
    assert np.array_equal(picks, again)
    assert len({tuple(sorted(chosen)) for chosen in picks.tolist()}) == 6
    fewer, _ = grow(z, 30, epsilon=0.1, seeds=2)
    assert np.array_equal(picks[:2], fewer)


def test_epsilon_is_the_knob_of_overlap() -> None:
    z = np.random.default_rng(7).normal(size=(400, 8)).astype(np.float32)

    def overlap(epsilon: float) -> float:
        sets = [set(chosen) for chosen in grow(z, 40, epsilon=epsilon, seeds=6)[0].tolist()]
        pairs = itertools.combinations(sets, 2)
        return float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))

    assert overlap(0.01) > overlap(0.1) > overlap(0.5) > overlap(0.9)


def test_gathering_in_small_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    z = np.random.default_rng(8).normal(size=(200, 8)).astype(np.float32)
    whole = grow(z, 20, epsilon=0.1, seeds=3)[0]
    monkeypatch.setattr(graph_cut, "SCRATCH_FLOATS", 100)
    assert np.array_equal(grow(z, 20, epsilon=0.1, seeds=3)[0], whole)


def test_the_first_of_equal_rows_is_taken_however_many_are_gathered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    z = np.tile(np.eye(4, dtype=np.float32), (10, 1))
    whole = grow(z, 6)[0]
    assert whole[0, 0] == 0
    monkeypatch.setattr(graph_cut, "SCRATCH_FLOATS", 8)
    assert np.array_equal(grow(z, 6)[0], whole)


@pytest.mark.parametrize("size", [0, 1, 19, 20])
def test_any_size_gives_rows_without_repeats(size: int) -> None:
    z = np.random.default_rng(9).normal(size=(20, 4)).astype(np.float32)
    z[3] = 0.0  # a row without a direction
    picks, gains = grow(z, size, epsilon=0.9, seeds=2)
    assert picks.shape == gains.shape == (2, size)
    assert all(len(set(chosen)) == size for chosen in picks.tolist())
    assert np.isfinite(gains).all()


def test_length_of_an_embedding_does_not_matter() -> None:
    z = np.random.default_rng(10).normal(size=(50, 5))
    scaled = z * np.random.default_rng(11).uniform(0.1, 9.0, size=(50, 1))
    assert grow(z, 10)[0].tolist() == grow(scaled, 10)[0].tolist()
