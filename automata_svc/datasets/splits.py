"""Which rows are trained on, validated on and tested on, where a dataset does not say so itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.errors import Problem

SPLIT_SEED = 0  # fixed for good: a job's seed must not choose its test rows
HELD_OUT = 0.2  # of the rows there are, test first and validation of what is left


def hold_out(
    labels: NDArray[np.int64], size: int, seed: int = SPLIT_SEED
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take `size` rows out, of each class its share of them and at least one.

    Args:
        labels: [n] class numbers from 0, each class with at least two rows.
        size: rows to take, from the number of classes to n − classes.

    Returns:
        (rows that stay [n − size], rows taken [size]), positions in `labels`, ascending.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(labels), size]))
    counts = np.bincount(labels)
    taken = [
        rng.permutation(np.flatnonzero(labels == c))[:k] for c, k in enumerate(quotas(counts, size))
    ]
    out = np.sort(np.concatenate(taken)).astype(np.int64)
    stay = np.ones(len(labels), dtype=bool)
    stay[out] = False
    return np.flatnonzero(stay).astype(np.int64), out


def quotas(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Rows of each class among `size`: proportional, by largest remainder, none and all avoided.

    Args:
        counts: [C] rows of each class; a class of 0 gets 0, one of 1 keeps its row.
    """
    low, high = np.minimum(counts - 1, 1).clip(0), (counts - 1).clip(0)
    exact = counts * (size / counts.sum())
    k: NDArray[np.int64] = np.clip(np.floor(exact).astype(np.int64), low, high)
    while k.sum() != size:  # at most C steps
        step = 1 if k.sum() < size else -1
        room = (k < high) if step > 0 else (k > low)
        if not room.any():
            break
        k[np.argmax(np.where(room, step * (exact - k), -np.inf))] += step
    return k


def split_rows(
    labels: NDArray[np.int64],
    given: Mapping[str, NDArray[Any]],
    class_names: tuple[str, ...],
    held_out: int | None = None,
    pointer: str = "y",
) -> tuple[dict[str, NDArray[np.int64]], list[str], list[Problem]]:
    """Row numbers of train, val and test: those given, the missing ones held out of train.

    Args:
        labels: [N] class numbers of all rows.
        given: row numbers by split; {} where all rows are still together.
        class_names: [C], for messages.
        held_out: rows to take for a missing validation split; None: HELD_OUT of train.
        pointer: what the labels are called, for messages.

    Returns:
        (the three splits, notes on what was done, mistakes); without splits if there are mistakes.
    """
    rows = {name: np.asarray(part, dtype=np.int64) for name, part in given.items()}
    train = rows.get("train", np.arange(len(labels), dtype=np.int64))
    missing = [name for name in ("test", "val") if name not in rows]
    problems: list[Problem] = []
    counts = np.bincount(labels[train], minlength=len(class_names))
    needed = 1 + len(missing)
    if missing and (few := np.flatnonzero((counts > 0) & (counts < needed))).size:
        named = ", ".join(f"'{class_names[c]}' has {counts[c]}" for c in few[:5])
        more = f" and {len(few) - 5} more classes" if len(few) > 5 else ""
        said = (
            f"too few rows of a class to hold out {' and '.join(missing)}: {named}{more}; "
            f"each class needs {needed} or more, or bring the splits yourself"
        )
        return {}, [], [Problem(pointer, said)]
    notes = []
    for name in missing:
        wanted = round(HELD_OUT * len(train))
        if name == "val" and held_out is not None:
            wanted = held_out
        classes = int((np.bincount(labels[train]) > 0).sum())
        stay, out = hold_out(labels[train], max(wanted, classes))
        rows[name], train = train[out], train[stay]
        notes.append(
            f"{name}: {len(out):,} rows held out of {len(out) + len(stay):,}, "
            f"stratified by class, split seed {SPLIT_SEED}"
        )
    rows["train"] = train
    return rows, notes, problems
