"""A job as a live table shows it: a small frozen picture, cheap to take after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from automata_svc.results.expected import expected_price
from automata_svc.results.standing import leader, share_of
from automata_svc.tuning.state import JobState

LAST = 4  # decisions a picture remembers


@dataclass(frozen=True)
class RungLine:
    """One rung, from 1."""

    rung: int
    share: float
    keep: int | None
    arrived: int
    running: int  # trials on their way to it
    went_on: int
    best: float | None


@dataclass(frozen=True)
class Progress:
    """Where a job stands."""

    state: str
    reason: str
    metric: str
    planned: int
    proposed: int
    slots: int
    running: int
    trials: Mapping[str, int]  # by state
    rungs: tuple[RungLine, ...]
    confirming: tuple[tuple[int, float], ...]  # finalists and the share each has reached
    best: tuple[int, float, float] | None  # trial, metric, share
    price: float
    expected: float

    @property
    def done(self) -> float:
        """Part of the expected price that is spent, at most 1."""
        return min(1.0, self.price / self.expected) if self.expected > 0 else 0.0


def progress(state: JobState) -> Progress:
    """Takes the picture."""
    plan = state.plan
    on_the_way = Counter(
        state.trials[number].rung
        for number, opened in state.open.items()
        if opened.phase == "search"
    )
    confirming = state.confirm.trials if state.confirm is not None else ()
    return Progress(
        state=state.state,
        reason=state.move.reason,
        metric=plan.metric,
        planned=plan.trials,
        proposed=len(state.trials),
        slots=state.slots,
        running=len(state.open),
        trials=Counter(trial.state for trial in state.trials),
        rungs=tuple(
            RungLine(
                rung=index + 1,
                share=rung.share,
                keep=rung.keep,
                arrived=len(ranking),
                running=on_the_way[index],
                went_on=len(state.promoted[index]),
                best=None if (top := ranking.best()) is None else ranking.values[top].metric,
            )
            for index, (rung, ranking) in enumerate(zip(plan.rungs, state.rungs, strict=True))
        ),
        confirming=tuple((number, share_of(state, state.trials[number])) for number in confirming),
        best=_best(state),
        price=state.price,
        expected=expected_price(plan),
    )


def seconds_left(picture: Progress, elapsed_s: float, price_before: float = 0.0) -> float | None:
    """What remains at the speed since this driver began; None while that says nothing.

    Args:
        price_before: spent when this driver took over.
    """
    spent = picture.price - price_before
    if spent <= 0.02 * picture.expected or elapsed_s < 1.0:
        return None
    return max(0.0, picture.expected - picture.price) * elapsed_s / spent


def _best(state: JobState) -> tuple[int, float, float] | None:
    trial = leader(state)
    value = trial.last_value if trial is not None else None
    if trial is None or value is None or value.metric is None:
        return None
    if state.result is not None and state.plan.metric in state.result.val:
        return (trial.number, state.result.val[state.plan.metric], state.result.share)
    return (trial.number, value.metric, state.plan.rungs[max(trial.values)].share)
