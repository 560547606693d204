"""What every strategy owes, held against each row of STRATEGIES."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from automata_svc.errors import SpecError
from automata_svc.selection import STRATEGIES, Draw, FactoredGradients, Rows, SelectionError, Subset
from automata_svc.selection.types import Arrays

NAMES = sorted(STRATEGIES)
CHOOSERS = [name for name in NAMES if name != "full"]
ADAPTIVE = [name for name in CHOOSERS if name != "random"]
MIB = 2**20


class Problem:
    """Rows with embeddings, and the gradients of a torch head that is being trained."""

    def __init__(self, n: int, n_classes: int = 5, width: int = 8) -> None:
        rng = np.random.default_rng(0)
        labels = rng.choice(n_classes, n, p=np.linspace(1, 2, n_classes) / (1.5 * n_classes))
        embeddings = rng.standard_normal((n, width), dtype=np.float32)
        embeddings[np.arange(n), labels % width] += 2.0
        self.rows = Rows(labels=labels, n_classes=n_classes, embeddings=embeddings)
        self.head = torch.nn.Linear(width, n_classes)
        self.head.weight.grad = torch.ones_like(self.head.weight)

    def gradients(self, rows: np.ndarray) -> FactoredGradients:
        """As the loader does it: no grad, the model as it is."""
        with torch.no_grad():
            inputs = torch.from_numpy(self.rows.embeddings[rows])
            errors = self.head(inputs).softmax(1)
            errors[torch.arange(len(rows)), torch.from_numpy(self.rows.labels[rows])] -= 1.0
        return FactoredGradients(errors=errors.numpy(), inputs=inputs.numpy())

    def prepare(self, name: str, size: int, seed: int = 0) -> Arrays:
        needs = "embeddings" in STRATEGIES[name].needs
        rows = self.rows if needs else self.bare
        return STRATEGIES[name].prepare(rows, size, seed, {})

    @property
    def bare(self) -> Rows:
        return Rows(self.rows.labels, self.rows.n_classes)

    def select(self, name: str, artefact: Arrays, draw: Draw) -> Subset:
        """With what `needs` names, and nothing more."""
        source = self.gradients if "gradients" in STRATEGIES[name].needs else None
        return STRATEGIES[name].select(self.bare, artefact, draw, {}, source)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(600)


def draw(size: int, index: int = 0, seed: tuple[int, int] = (11, 2)) -> Draw:
    return Draw(size=size, index=index, total=12, seed=seed, batch_size=16)


@pytest.mark.parametrize("index", [0, 1, 5, 11])
@pytest.mark.parametrize("size", [1, 7, 64, 600])
@pytest.mark.parametrize("name", NAMES)
def test_a_subset_is_that_many_rows_with_weights_of_mean_one(
    name: str, size: int, index: int, problem: Problem
) -> None:
    subset = problem.select(name, problem.prepare(name, size), draw(size, index))
    expected = 600 if name == "full" else size
    assert subset.indices.dtype == np.int64 and subset.weights.dtype == np.float32
    assert subset.indices.shape == subset.weights.shape == (expected,)
    assert len(np.unique(subset.indices)) == expected
    assert subset.indices.min() >= 0 and subset.indices.max() < 600
    assert np.isfinite(subset.weights).all() and subset.weights.min() >= 0.0
    assert subset.weights.mean(dtype=np.float64) == pytest.approx(1.0, abs=1e-5)
    assert 0 <= subset.forward_rows <= 600
    assert all(isinstance(fact, float) for fact in subset.facts.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draw_gives_the_same_rows(name: str, problem: Problem) -> None:
    one, again = (
        problem.select(name, problem.prepare(name, 40), draw(40, index=4)) for _ in range(2)
    )
    assert one.indices.tolist() == again.indices.tolist()
    assert one.weights.tolist() == again.weights.tolist()
    assert one.facts == again.facts


@pytest.mark.parametrize("name", NAMES)
def test_selections_do_not_depend_on_those_before_them(name: str, problem: Problem) -> None:
    artefact = problem.prepare(name, 40)
    in_order = [problem.select(name, artefact, draw(40, j)).indices.tolist() for j in range(6)]
    resumed = problem.select(name, artefact, draw(40, 5)).indices.tolist()
    assert resumed == in_order[5]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_another_selection_or_another_trial_gives_other_rows(name: str, problem: Problem) -> None:
    artefact = problem.prepare(name, 40)
    draws = [draw(40, 10), draw(40, 11), draw(40, 11, seed=(11, 3)), draw(40, 11, seed=(12, 2))]
    chosen = [tuple(sorted(problem.select(name, artefact, d).indices.tolist())) for d in draws]
    assert len(set(chosen)) == len(draws)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_global_and_nothing_given_is_touched(name: str, problem: Problem) -> None:
    def world() -> list[Any]:
        return [
            random.getstate(),
            str(np.random.get_state()),
            np.geterr(),
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            problem.head.training,
            problem.head.weight.tolist(),
            problem.head.weight.grad.tolist(),
            problem.rows.labels.tolist(),
            problem.rows.embeddings.tolist(),
        ]

    before = world()
    artefact = problem.prepare(name, 40)
    for array in artefact.values():
        array.setflags(write=False)
    bytes_before = {key: array.tobytes() for key, array in artefact.items()}
    for index in (0, 11):
        problem.select(name, artefact, draw(40, index))
    assert world() == before
    assert {key: array.tobytes() for key, array in artefact.items()} == bytes_before


@pytest.mark.parametrize("name", NAMES)
def test_an_artefact_is_plain_numbers_and_depends_on_its_arguments_alone(
    name: str, problem: Problem
) -> None:
    one, again = problem.prepare(name, 40, seed=5), problem.prepare(name, 40, seed=5)
    assert sorted(one) == sorted(again)
    for key, array in one.items():
        assert array.dtype.kind in "if"
        assert array.tobytes() == again[key].tobytes()


# 8,000 rows, 20 classes, 64 features: N² is 61 MiB at a byte an entry, N × C × d 39 MiB in float32,
# the embeddings 2 MiB.
@pytest.mark.parametrize("name", NAMES)
def test_memory_stays_far_below_rows_squared_and_rows_times_classes_times_features(
    name: str,
) -> None:
    problem = Problem(8_000, n_classes=20, width=64)
    problem.select("automata", {}, draw(64))  # libraries are loaded before the count begins
    tracemalloc.start()
    try:
        artefact = problem.prepare(name, 800)
        for index in (0, 11):
            problem.select(name, artefact, Draw(800, index, 12, (0, 0), batch_size=32))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * MIB


@pytest.mark.parametrize("size", [0, 601])
@pytest.mark.parametrize("name", CHOOSERS)
def test_a_size_out_of_range_is_refused(name: str, size: int, problem: Problem) -> None:
    artefact = problem.prepare(name, 40)
    with pytest.raises(SelectionError, match=f"a subset of {size} rows"):
        problem.select(name, artefact, draw(size))


@pytest.mark.parametrize("name", NAMES)
def test_a_needed_signal_that_is_missing_or_not_finite_is_refused(
    name: str, problem: Problem
) -> None:
    strategy = STRATEGIES[name]
    assert strategy.needs <= {"embeddings", "gradients"}
    if "embeddings" in strategy.needs:
        with pytest.raises(SelectionError, match="needs embeddings"):
            strategy.prepare(problem.bare, 40, 0, {})
        spoiled = problem.rows.embeddings.copy()
        spoiled[123, 0] = np.nan
        rows = Rows(problem.rows.labels, problem.rows.n_classes, spoiled)
        with pytest.raises(SelectionError, match="row 123 "):
            strategy.prepare(rows, 40, 0, {})
    if "gradients" in strategy.needs:
        with pytest.raises(SelectionError, match="needs last-layer gradients"):
            strategy.select(problem.bare, {}, draw(40), {})

        def spoil(rows: np.ndarray) -> FactoredGradients:
            factored = problem.gradients(rows)
            factored.errors[rows == rows[3]] = np.inf
            return factored

        with pytest.raises(SelectionError, match=r"row \d+ is not finite"):
            strategy.select(problem.bare, {}, draw(40), {}, spoil)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_plain_defaults_and_unknown_ones_are_refused(
    name: str, problem: Problem
) -> None:
    strategy = STRATEGIES[name]
    assert isinstance(strategy.version, int) and strategy.version >= 1
    assert isinstance(strategy.options, Mapping)
    assert json.loads(json.dumps(dict(strategy.options))) == dict(strategy.options)
    artefact = problem.prepare(name, 40)
    source = problem.gradients
    explicit = strategy.select(problem.bare, artefact, draw(40), strategy.options, source)
    implied = strategy.select(problem.bare, artefact, draw(40), {}, source)
    assert explicit.indices.tolist() == implied.indices.tolist()
    with pytest.raises(SpecError, match="unknown option of strategy"):
        strategy.select(problem.bare, artefact, draw(40), {"no_such_option": 1}, source)


def test_the_table_loads_nothing_heavier_than_numpy() -> None:
    code = (
        "import sys, automata_svc.selection; "
        "print([m for m in ('torch', 'scipy', 'sklearn', 'pandas', 'ray') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
