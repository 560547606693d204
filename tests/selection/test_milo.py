"""MILO: the artefact, the curriculum and the sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from automata_svc.errors import SpecError
from automata_svc.selection import STRATEGIES, Draw, Rows, SelectionError, milo
from automata_svc.selection.milo import sge_selections, wre_log_p
from automata_svc.selection.sampling import effective_sample_size

MILO = STRATEGIES["milo"]
MODES = ["shaped", "faithful"]


def blobs(n: int = 240, n_classes: int = 3, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    labels = rng.choice(n_classes, n, p=np.array([0.6, 0.3, 0.1])[:n_classes])
    centres = 2.0 * rng.normal(size=(n_classes, 6))
    embeddings = (centres[labels] + rng.normal(size=(n, 6))).astype(np.float32)
    return Rows(labels=labels, n_classes=n_classes, embeddings=embeddings)


def select(rows: Rows, artefact: Mapping[str, Any], index: int, **options: Any) -> Any:
    size = artefact["sge"].shape[1]
    return MILO.select(rows, artefact, Draw(size, index, 12, (0, 0)), options)


@pytest.mark.parametrize("rule", ["proportional", "balanced", "sqrt"])
def test_every_subset_has_its_class_budgets(rule: str) -> None:
    rows = blobs()
    artefact = MILO.prepare(rows, 40, 0, {"class_budget": rule})
    for index in (0, 1, 2, 11):
        chosen = select(rows, artefact, index, class_budget=rule).indices
        assert len(set(chosen.tolist())) == 40
        counts = np.bincount(rows.labels[chosen], minlength=3)
        assert counts.tolist() == artefact["budgets"].tolist()


def test_the_first_sixth_goes_round_the_representative_subsets() -> None:
    rows = blobs()
    artefact = MILO.prepare(rows, 24, 0, {"subsets": 2, "kappa": 0.25})
    facts = [select(rows, artefact, j, subsets=2, kappa=0.25) for j in range(12)]
    assert [s.facts["representative"] for s in facts] == [1.0] * 3 + [0.0] * 9
    assert [s.indices.tolist() for s in facts[:3]] == [
        artefact["sge"][r].tolist() for r in (0, 1, 0)
    ]
    assert len({tuple(s.indices.tolist()) for s in facts[3:]}) == 9


@pytest.mark.parametrize(
    ("kappa", "total", "expected"),
    [(1 / 6, 12, 2), (1 / 6, 13, 3), (0.07, 100, 7), (0.0, 9, 0), (1.0, 9, 9), (0.01, 5, 1)],
)
def test_the_number_of_representative_selections_rounds_up(
    kappa: float, total: int, expected: int
) -> None:
    assert sge_selections(kappa, total) == expected


def test_representative_subsets_differ_and_the_seed_decides_them() -> None:
    rows = blobs()
    one, same, other = (MILO.prepare(rows, 24, seed, {})["sge"] for seed in (1, 1, 2))
    assert len({tuple(sorted(subset)) for subset in one.tolist()}) == len(one) == 8
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_classes_are_drawn_independently_of_each_other() -> None:
    half = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    rows = Rows(np.repeat([0, 1], 60), 2, np.vstack([half, half]))  # twins
    for subset in MILO.prepare(rows, 20, 0, {"epsilon": 0.5})["sge"]:
        assert sorted(subset[:10]) != sorted(subset[10:] - 60)


def test_lambda_and_epsilon_reach_the_greedy() -> None:
    rows = blobs()
    default, spread, plain = (
        MILO.prepare(rows, 24, 0, options) for options in ({}, {"lambda": 0.0}, {"epsilon": 1e-300})
    )
    assert spread["sge_value"].min() > default["sge_value"].max()  # nothing is taken off
    assert len({tuple(subset) for subset in plain["sge"].tolist()}) == 1  # it looks at all rows


def test_representative_subsets_have_a_higher_graph_cut_value_than_random_ones() -> None:
    rows = blobs()
    artefact = MILO.prepare(rows, 24, 0, {})
    unit = rows.embeddings / np.linalg.norm(rows.embeddings, axis=1, keepdims=True)
    kernel = (1.0 + unit.astype(np.float64) @ unit.T) / 2.0

    def value(chosen: np.ndarray) -> float:
        total = 0.0
        for c in range(3):
            members = np.flatnonzero(rows.labels == c)
            mine = chosen[rows.labels[chosen] == c]
            total += kernel[np.ix_(members, mine)].sum() - 0.4 * kernel[np.ix_(mine, mine)].sum()
        return float(total)

    values = [value(subset) for subset in artefact["sge"]]
    assert values == pytest.approx(artefact["sge_value"].tolist(), rel=1e-5)
    random = [value(select(rows, artefact, 11, kappa=0.0).indices) for _ in range(3)]
    assert min(values) > max(random)


@pytest.mark.parametrize("mode", MODES)
def test_probabilities_are_positive_sum_to_one_and_rise_with_the_distance(mode: str) -> None:
    rows = blobs()
    artefact = MILO.prepare(rows, 24, 0, {"mode": mode})
    for c in range(3):
        members = np.flatnonzero(rows.labels == c)
        log_p = artefact["log_p"][members].astype(np.float64)
        assert np.isfinite(log_p).all()
        assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-5)
        if mode == "shaped":
            by_distance = np.argsort(artefact["insertion_distance"][members])
            assert np.all(np.diff(log_p[by_distance]) >= -1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_probabilities_follow_the_rows_when_the_dataset_is_permuted(mode: str) -> None:
    rows = blobs()
    order = np.random.default_rng(5).permutation(rows.n)
    permuted = Rows(rows.labels[order], 3, rows.embeddings[order])
    first, second = (MILO.prepare(r, 24, 0, {"mode": mode}) for r in (rows, permuted))
    for name in ("log_p", "insertion_distance"):
        assert second[name] == pytest.approx(first[name][order], abs=1e-4)


def test_the_shaped_sampler_has_the_effective_size_that_was_asked_for() -> None:
    rows = blobs(n=900)
    for target in (0.3, 0.5, 0.8):
        artefact = MILO.prepare(rows, 60, 0, {"target_ess": target})
        assert artefact["ess"][0] == pytest.approx(target, abs=0.01)
        assert select(rows, artefact, 11).facts["ess"] == pytest.approx(target, abs=0.01)


def test_the_effective_size_that_is_told_is_the_mean_over_rows() -> None:
    varied = np.random.default_rng(0).normal(size=(90, 5))
    rows = Rows(np.repeat([0, 1], [90, 10]), 2, np.vstack([varied, np.ones((10, 5))]).astype("f4"))
    artefact = MILO.prepare(rows, 20, 0, {})  # equal rows have an effective size of 1
    assert artefact["ess"][0] == pytest.approx(0.9 * 0.5 + 0.1 * 1.0, abs=0.01)


def test_the_faithful_sampler_is_nearly_uniform_as_published() -> None:
    assert MILO.prepare(blobs(n=900), 60, 0, {"mode": "faithful"})["ess"][0] > 0.95


def test_faithful_probabilities_are_those_of_the_gain_of_disparity_min() -> None:
    distances = np.array([0.9, 0.9, 0.7, 0.4, 0.4])  # the first row has none of its own
    gains = np.array([0.0, 0.9, -0.2, -0.3, 0.0])  # f goes 0, .9, .7, .4, .4
    shifted = gains - gains.min()
    expected = 1.0 + shifted + shifted**2 / 2.0
    p = np.exp(wre_log_p(distances, "faithful", 0.5))
    assert p == pytest.approx(expected / expected.sum())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_rows_are_drawn_uniformly(mode: str, n: int) -> None:
    log_p = wre_log_p(np.zeros(n), mode, 0.5)
    assert effective_sample_size(log_p) == pytest.approx(1.0)


def test_drawn_rows_are_the_likely_ones() -> None:
    """The published code looked probabilities up by rank where it had row numbers."""
    rows = blobs(n=600)
    artefact = MILO.prepare(rows, 60, 0, {"target_ess": 0.3})
    often = np.zeros(rows.n)
    for trial in range(200):
        draw = Draw(60, 11, 12, (0, trial))
        often[MILO.select(rows, artefact, draw, {"target_ess": 0.3}).indices] += 1
    for c in range(3):
        members = np.flatnonzero(rows.labels == c)
        assert np.corrcoef(often[members], np.exp(artefact["log_p"][members]))[0, 1] > 0.8


def test_selecting_reads_the_artefact_alone_and_does_not_write_it() -> None:
    rows = blobs()
    artefact = MILO.prepare(rows, 24, 0, {})
    for array in artefact.values():
        array.setflags(write=False)
    bare = Rows(rows.labels, rows.n_classes)
    for index in (0, 11):
        chosen = select(bare, artefact, index)
        chosen.indices[0] = 0  # what a trial does to its rows reaches nobody else
        assert chosen.forward_rows == 0


def test_big_classes_are_not_ordered_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milo, "COMPLETE_ORDER", 10)
    artefact = MILO.prepare(blobs(), 24, 0, {})
    assert sorted(artefact["order"].tolist()) == list(range(240))
    assert artefact["ess"][0] == pytest.approx(0.5, abs=0.01)


def test_as_many_rows_of_a_class_are_ordered_as_a_subset_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = blobs()
    whole = MILO.prepare(rows, 60, 0, {})
    monkeypatch.setattr(milo, "COMPLETE_ORDER", 3)
    for c, k_c in enumerate(whole["budgets"]):
        first = slice(whole["class_offsets"][c], whole["class_offsets"][c] + k_c)
        assert np.array_equal(MILO.prepare(rows, 60, 0, {})["order"][first], whole["order"][first])


def test_a_subset_of_another_size_than_the_artefact_is_refused() -> None:
    rows = blobs()
    artefact = MILO.prepare(rows, 24, 0, {})
    with pytest.raises(SelectionError, match="25 of 240 rows.*prepared for 24 of 240"):
        MILO.select(rows, artefact, Draw(25, 0, 12, (0, 0)), {})
    with pytest.raises(SelectionError, match="needs its artefact"):
        MILO.select(rows, {}, Draw(25, 0, 12, (0, 0)), {})


def test_bad_embeddings_are_refused_by_row() -> None:
    rows = blobs()
    with pytest.raises(SelectionError, match="needs embeddings"):
        MILO.prepare(Rows(rows.labels, 3), 24, 0, {})
    rows.embeddings[17, 2] = np.inf
    with pytest.raises(SelectionError, match="embedding of row 17 is not finite"):
        MILO.prepare(rows, 24, 0, {})


def test_all_bad_options_come_back_in_one_answer() -> None:
    with pytest.raises(SpecError) as caught:
        MILO.prepare(blobs(), 24, 0, {"mode": "shape", "kapa": 0.2, "epsilon": 0, "subsets": 2.5})
    assert {p.pointer for p in caught.value.problems} == {"mode", "kapa", "epsilon", "subsets"}
    assert "did you mean 'kappa'" in str(caught.value)
