"""The README's picture of the dial: price against misses, with the goals drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOALS = ((1.0, 1.5, 10.0), (1.5, 2.5, 5.0))  # from price, to price, at most so many % miss
COLOURS = ("#1b6ca8", "#d1603d", "#8e6bbf", "#2f8f6b", "#b08a1e", "#7a7a7a")  # in turn


@dataclass(frozen=True)
class Point:
    """An arm on a pool."""

    label: str
    price: float
    misses: float  # %
    low: float | None = None  # 90 % interval
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One pool: its recipes, by rising price, and the other arms."""

    name: str
    recipes: Sequence[Point]
    others: Sequence[Point]


def draw(panels: Mapping[str, Sequence[Series]], file: Path) -> None:
    """One panel a dataset, one line a pool."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator

    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 4.4), sharey=True, squeeze=False
    )
    for axis, (title, pools) in zip(axes[0], panels.items(), strict=True):
        for low, high, most in GOALS:
            axis.fill_between([low, high], 0, most, color="#cfe8cf", zorder=0, lw=0)
            axis.plot([low, high], [most, most], color="#3c8c3c", lw=1.2, zorder=1)
        for number, series in enumerate(pools):
            _line(axis, series, COLOURS[number % len(COLOURS)])
        _names(axis, max(pools, key=lambda series: sum(p.misses for p in series.others)))
        axis.set_title(title, fontsize=11)
        axis.set_xscale("log")
        axis.set_xlim(1.0, 60)
        axis.xaxis.set_major_locator(FixedLocator([1, 1.5, 2.5, 5, 10, 27]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticklabels(["1", "1.5", "2.5", "5", "10", "27"])
        axis.set_xlabel("price (full trainings, evaluation included)")
        axis.grid(alpha=0.25, lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=7, loc="upper right")
    axes[0][0].set_ylabel("jobs that lose more than .5 points, %")
    axes[0][0].set_ylim(-1, 100)
    figure.suptitle(
        "27 trials: what a price buys (dots: recipes with 90 % intervals; crosses: other searches; "
        "green: the goals)",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _line(axis: Any, series: Series, colour: str) -> None:
    prices = [p.price for p in series.recipes]
    misses = [p.misses for p in series.recipes]
    axis.plot(prices, misses, "o-", color=colour, ms=4.5, lw=1.2, label=series.name, zorder=3)
    for point in series.recipes:
        if point.low is not None and point.high is not None:
            axis.plot([point.price] * 2, [point.low, point.high], color=colour, lw=0.8, alpha=0.5)
    axis.plot(
        [p.price for p in series.others], [p.misses for p in series.others], "x", color=colour,
        ms=6, mew=1.4, zorder=3,
    )  # fmt: skip


def _names(axis: Any, series: Series) -> None:
    """Labels of the other arms, at one pool's crosses: to the left where another follows close."""
    for point in series.others:
        crowded = any(
            abs(other.misses - point.misses) < 4 and 1 < other.price / point.price < 1.6
            for other in series.others
        )
        axis.annotate(
            point.label, (point.price, point.misses), textcoords="offset points",
            xytext=(-5 if crowded else 5, 5), ha="right" if crowded else "left",
            fontsize=7, color="#444444",
        )  # fmt: skip
