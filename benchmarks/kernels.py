"""Two figures on the selection kernels: `python -m benchmarks.kernels [--quick]`.

1. Non-negative OMP against the solver of the published code, written anew from its description
   (`reference_v1` below), on last-layer gradients of 3,000 rows with 1,290 entries, 300 picks.
   Goal: at least 5 times faster, at an equal or lower residual.
2. SGE subsets on a million embeddings of 128 floats: seconds, and peak memory of the process as a
   multiple of the embeddings. Goal: at most 2 times.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray

from automata_svc.selection.gradients import FactoredGram
from automata_svc.selection.graph_cut import inverse_norms, stochastic_greedy
from automata_svc.selection.omp import nonnegative_omp
from automata_svc.selection.types import FactoredGradients, keyed_rng

MIB = 2**20


def reference_v1(
    atoms: NDArray[np.float64], target: NDArray[np.float64], size: int
) -> tuple[list[int], NDArray[np.float64], float]:
    """The published code's default OMP solver, as the literature on it describes it.

    Every iteration takes argmax ⟨atom, residual⟩ (chosen atoms are not masked, and nothing stops
    it where that is not positive), appends that atom to the design even when it is in already, but
    to the list of indices only when it is new; solves Gram and least squares from nothing, and
    drops the most negative weight and solves again until none is negative. That is what it costs,
    and why design and indices stop matching.

    Args:
        atoms: [n, D] one gradient a row.
        target: [D].
        size: iterations.

    Returns:
        (indices, weights of the design's rows, relative residual of the design).
    """
    indices: list[int] = []
    design = np.zeros((0, atoms.shape[1]))
    weights: NDArray[np.float64] = np.zeros(0)
    residual: NDArray[np.float64] = target.copy()
    for _ in range(size):
        j = int(np.argmax(atoms @ residual))
        design = np.vstack([design, atoms[j]])
        if j not in indices:
            indices.append(j)
        while True:
            solved = np.linalg.lstsq(design @ design.T, design @ target, rcond=None)[0]
            weights = np.asarray(solved, dtype=np.float64)
            if not len(weights) or weights.min() >= 0.0:
                break
            worst = int(np.argmin(weights))
            design = np.delete(design, worst, axis=0)
            if worst < len(indices):
                indices.pop(worst)
        residual = target - weights @ design
    return indices, weights, float(np.linalg.norm(residual) / np.linalg.norm(target))


def last_layer(n: int, n_classes: int, width: int, seed: int) -> FactoredGradients:
    """Gradients of a half-trained linear head: errors p − y on clustered features."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    centres = rng.normal(size=(n_classes, width))
    inputs = (centres[labels] + 2.0 * rng.normal(size=(n, width))).astype(np.float32)
    logits = inputs @ centres.T.astype(np.float32) * np.float32(0.05)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(n), labels] -= 1.0
    return FactoredGradients(errors=p, inputs=inputs)


def multiplied_out(gradients: FactoredGradients) -> NDArray[np.float64]:
    """[n, C(d+1)] each gradient as a row: what the service itself never forms."""
    ones = np.ones((len(gradients.inputs), 1))
    inputs = np.hstack([gradients.inputs.astype(np.float64), ones])
    products = gradients.errors.astype(np.float64)[:, :, None] * inputs[:, None, :]
    return products.reshape(len(inputs), -1)


def omp_figures(n: int, width: int, size: int, repeats: int) -> str:
    gradients = last_layer(n, 10, width, seed=0)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        gram = FactoredGram(gradients)
        correlations, target_sq = gram.target()
        match = nonnegative_omp(gram, correlations, size, ridge=0.0, target_sq=target_sq)
        best = min(best, time.perf_counter() - start)
    atoms = multiplied_out(gradients)
    target = atoms.sum(axis=0)
    start = time.perf_counter()
    _, _, reference_residual = reference_v1(atoms, target, size)
    reference = time.perf_counter() - start
    ours = np.linalg.norm(match.weights @ atoms[match.indices] - target) / np.linalg.norm(target)
    return "\n".join(
        [
            f"non-negative OMP   n {n:,}  d {atoms.shape[1]:,}  k {size}",
            f"  {'':14}{'seconds':>10}{'residual':>12}{'atoms':>8}",
            f"  {'ours':14}{best:>10.3f}{ours:>12.2e}{len(match.indices):>8}",
            f"  {'reference V1':14}{reference:>10.3f}{reference_residual:>12.2e}",
            f"  {reference / best:.1f} times faster (goal at full size: 5)",
        ]
    )


def sge_figures(n: int, width: int, size: int, subsets: int) -> str:
    """Run in a process of its own: the peak is the process's."""
    rng = np.random.default_rng(0)
    embeddings = np.empty((n, width), dtype=np.float32)
    rng.standard_normal(out=embeddings, dtype=np.float32)
    start = time.perf_counter()
    before = _peak_bytes()
    picks, _ = stochastic_greedy(
        embeddings,
        inverse_norms(embeddings),
        np.arange(n, dtype=np.int64),
        size,
        lam=0.4,
        epsilon=0.1,
        rngs=[keyed_rng(0, "sge", r) for r in range(subsets)],
    )
    seconds = time.perf_counter() - start
    extra = _peak_bytes() - before
    distinct = len({tuple(np.sort(row)) for row in picks})
    return "\n".join(
        [
            f"graph-cut SGE   {n:,} × {width} float32, {subsets} subsets of {size:,}",
            f"  embeddings {embeddings.nbytes / MIB:,.0f} MiB, process peak "
            f"{_peak_bytes() / MIB:,.0f} MiB, of which SGE added {extra / MIB:,.0f} MiB",
            f"  peak / embeddings {_peak_bytes() / embeddings.nbytes:.2f} "
            "(goal at full size: 2 at most)",
            f"  {seconds:.1f} s, {distinct} distinct subsets",
        ]
    )


def _peak_bytes() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, seconds")
    parser.add_argument("--only-sge", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_sge:
        n, size = (100_000, 1_000) if args.quick else (1_000_000, 10_000)
        print(sge_figures(n, 128, size, subsets=8))
        return
    print(omp_figures(*((600, 32, 60, 3) if args.quick else (3_000, 128, 300, 3))), flush=True)
    command = [sys.executable, "-m", "benchmarks.kernels", "--only-sge"]
    subprocess.run(command + ["--quick"] * args.quick, check=True)


if __name__ == "__main__":
    main()
