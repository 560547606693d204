"""A pool of invented curves: noisy, crossing, some of them diverged."""

from __future__ import annotations

import numpy as np

from benchmarks.replay import CONFIRMED, Pool

SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24, 0.32, *CONFIRMED)


def make_pool(
    configurations: int = 60,
    seed: int = 0,
    diverged: int = 3,
    decimals: int = 2,
    averaged: bool = False,
    **sizes: int,
) -> Pool:
    """Accuracy in steps of 10^-decimals, so that ties are common."""
    rng = np.random.default_rng(seed)
    share = np.array(SHARES)
    top, speed = rng.uniform(0.5, 0.95, configurations), rng.uniform(0.005, 0.3, configurations)
    clean = top[:, None] * share / (share + speed[:, None])
    accuracy = np.round(clean + rng.normal(0, 0.02, clean.shape), decimals).clip(0, 1)
    loss = np.round(2 * (1 - clean) + rng.normal(0, 0.05, clean.shape), decimals)
    test = np.round(clean + rng.normal(0, 0.01, clean.shape), 4)
    for number in range(diverged):
        accuracy[number, 2 * number + 1 :], loss[number, 2 * number + 1 :] = np.nan, np.nan
    rows = {"n_train": 10_500, "n_val": 4_500, "n_test": 5_000, "epochs": 50, **sizes}
    if not averaged:
        return Pool("invented", share, accuracy, loss, test, **rows)
    values = {
        f"{kind}_{name}": base + np.round(rng.normal(0, 0.01, base.shape), decimals)
        for kind in ("averaged", "first")
        for name, base in (("accuracy", accuracy), ("loss", loss))
    }
    for name in ("first_accuracy", "first_loss"):
        values[name][:, share > 0.01] = np.nan
    return Pool("invented", share, accuracy, loss, test, **rows, **values)
