"""The floor under the misses: what a full search loses to itself, trained a second time.

A job is judged by one number: the test accuracy of one training that one noisy validation value
picked. Where a pool was recorded twice, the full search of the second recording is held against the
first's, and so is somebody who knows the second's results before the first is trained: no rung can
know more of a trial than what it came to when it was trained in full.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.replay import MISS, Floats, Ints, Pool


@dataclass(frozen=True)
class Floor:
    """Points of regret, each [J]."""

    redone: Floats  # the second full search's model against the first's
    foreseen: Floats  # the first's model of the trial that won the second
    foreseen_two: Floats  # the better, by the first's validation, of the second's best two


def floor(first: Pool, second: Pool, jobs: Ints) -> Floor:
    """Second and first hold the same configurations."""
    if len(first) != len(second):
        raise ValueError(f"{first.name} and {second.name} hold different configurations")
    value, test = (found[jobs] for found in first.best())
    value_again, test_again = (found[jobs] for found in second.best())
    rows = np.arange(len(jobs))
    reference = test[rows, value.argmax(axis=1)]

    def chosen(finalists: int) -> Floats:
        best = np.argsort(-value_again, axis=1, kind="stable")[:, :finalists]
        place = np.argmax(np.take_along_axis(value, best, axis=1), axis=1)
        return 100 * (reference - test[rows, best[rows, place]])

    redone = 100 * (reference - test_again[rows, value_again.argmax(axis=1)])
    return Floor(redone, chosen(1), chosen(2))


def say(name: str, first: Pool, second: Pool, jobs: Ints) -> str:
    """Both ways round, since which of two trainings came first is chance."""
    ways = [floor(first, second, jobs), floor(second, first, jobs)]

    def both(field: str) -> str:
        found = [100 * float((getattr(way, field) > MISS).mean()) for way in ways]
        return f"{np.mean(found):.0f} % ({found[0]:.0f} and {found[1]:.0f})"

    return (
        f"{name}: a full search trained a second time misses in {both('redone')} of jobs; who knew "
        f"its results and took its winner, in {both('foreseen')}; its best two, in "
        f"{both('foreseen_two')}."
    )
