"""AUTOMATA's subsets: mini-batches whose weighted gradients match those of a pool."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.checks import check_size, read_options
from automata_svc.selection.errors import SelectionError
from automata_svc.selection.gradients import atom_gram, check_gradients, mismatch
from automata_svc.selection.omp import DenseGram, nonnegative_omp
from automata_svc.selection.sampling import stratified_order
from automata_svc.selection.types import Arrays, Draw, GradientSource, Rows, Subset


class Automata:
    """GRAD-MATCH with mini-batches as atoms, on a pool instead of on all rows.

    Killamsetty et al. 2022, AUTOMATA (arXiv:2203.08212), whose subset step is GradMatchPB of
    arXiv:2103.00123; the pool is CREST's idea (arXiv:2306.01244): the selection costs m·f forward
    passes over the data instead of one. A stratified random pool of m·k rows is cut into random
    mini-batches of the trial's batch size B; ⌈k/B⌉ of them with weights ≥ 0 are chosen by
    orthogonal matching pursuit, so that their weighted mean gradient is close to the pool's mean
    gradient. Rows take the weight of their batch; rows beyond k go from the lightest batches. Where
    the matching ends early (no further batch helps), random rows of the pool fill up to k, at the
    mean weight of the matched ones: in expectation their gradient is the target itself.

    A trial's loss is a weighted mean, so only the proportions of the weights reach the optimizer.
    The published objective fixes their sum nowhere, and its matched gradient, rescaled to a mean,
    was .8 to 16 lengths of the target off it (measured: digits, 300 and 1,500 steps in); here an
    extra entry √pin in each batch gradient and in the target holds Σw near 1.

    Options:
        pool: m ≥ 1, rows of the pool / k; the pool is at most all rows.
        ridge: λ ≥ 0 on ‖w‖², as a share of the mean squared norm of a batch gradient, so that it
            means the same for any model. The paper's .5; 0 can give one row 60 times the mean.
        pin: weight ≥ 0 of (Σw − 1)², in the same unit; 0 is the published objective.

    Facts: `residual` ‖weighted mean gradient of the subset − pool's mean gradient‖ / ‖the latter‖,
    of the rows and weights that are handed out; `atoms` batches matched; `filled` rows filled in.
    """

    version = 1
    needs: frozenset[str] = frozenset({"gradients"})
    options: Mapping[str, Any] = MappingProxyType(
        {
            "pool": 5,  # guess: within the 4 to 10 that pool-based selection uses
            "ridge": 0.5,  # GRAD-MATCH
            "pin": 10.0,  # measured (digits): Σw within 3 % of 1, and 100 matches no better
        }
    )
    allowed: Mapping[str, Any] = MappingProxyType(
        {"pool": (1, 1_000_000), "ridge": (0.0, 1e6), "pin": (0.0, 1e6)}
    )

    def prepare(self, rows: Rows, size: int, seed: int, options: Mapping[str, Any]) -> Arrays:
        return {}

    def select(
        self,
        rows: Rows,
        artefact: Arrays,
        draw: Draw,
        options: Mapping[str, Any],
        gradients: GradientSource | None = None,
    ) -> Subset:
        opts = read_options("automata", self.options, options, self.allowed)
        check_size(draw.size, rows.n)
        if gradients is None:
            raise SelectionError("strategy 'automata' needs last-layer gradients; none came")
        pool, bounds = _pool(rows, draw, opts["pool"])
        factored = gradients(pool)
        check_gradients(factored, pool)
        sizes = np.diff(bounds)
        gram = atom_gram(factored, bounds)
        share = sizes / len(pool)  # the pool's mean gradient is Σ share_B G_B
        correlations = gram @ share
        unit = float(gram.diagonal().mean())
        pin = opts["pin"] * unit
        match = nonnegative_omp(
            DenseGram(gram + pin),
            correlations + pin,
            -(-draw.size // draw.batch_size),
            ridge=opts["ridge"] * unit,
            target_sq=float(share @ correlations) + pin,
        )
        row_weights = match.weights / sizes[match.indices]  # w_B G_B = Σ (w_B / |B|) g_i
        places, weights = _rows_of(match.indices, row_weights, bounds, draw.size)
        return Subset(
            indices=pool[places],
            weights=weights,
            forward_rows=len(pool),
            facts={
                "residual": mismatch(factored, places, weights),
                "atoms": float(len(match.indices)),
                "filled": float(max(0, draw.size - int(sizes[match.indices].sum()))),
            },
        )


def _pool(rows: Rows, draw: Draw, factor: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows in random order, bounds of the mini-batches in them).

    Whole batches of B rows; where the rows of the training split end, its last rows are shared out
    among the batches, so that none is short and noisier than the others.
    """
    whole = -(-factor * draw.size // draw.batch_size) * draw.batch_size
    n_pool = min(rows.n, whole)
    pool = stratified_order(rows.labels, draw.rng("automata/pool"))[:n_pool]
    draw.rng("automata/batches").shuffle(pool)
    n_atoms = max(1, n_pool // draw.batch_size)
    return pool, np.arange(n_atoms + 1) * n_pool // n_atoms


def _rows_of(
    atoms: NDArray[np.int64],
    row_weights: NDArray[np.float64],
    bounds: NDArray[np.int64],
    size: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`size` places of the pool and their weights of mean 1: heaviest batches first, then fill."""
    heavy_first = np.argsort(-row_weights, kind="stable")
    ranges = [np.arange(bounds[a], bounds[a + 1]) for a in atoms[heavy_first]]
    matched = np.concatenate([np.zeros(0, dtype=np.int64), *ranges])
    repeats = [len(part) for part in ranges]
    weights = np.repeat(row_weights[heavy_first], repeats)[:size]
    fill = np.setdiff1d(np.arange(bounds[-1]), matched)[: max(0, size - len(matched))]
    mean = float(weights.mean()) if len(weights) else 1.0
    places = np.concatenate([matched[:size], fill])
    weights = np.concatenate([weights, np.full(len(fill), mean)])
    return places, (weights / weights.mean()).astype(np.float32)
