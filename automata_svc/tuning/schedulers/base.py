"""The contract of a scheduler, and the decision they all write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from automata_svc.tuning.events import Decision, Neighbour
from automata_svc.tuning.ranking import Ranking
from automata_svc.tuning.state import JobState, Trial

NEIGHBOURS = 5  # competitors a decision names; `why` rebuilds the whole table from the log


class Scheduler(Protocol):
    """Pure: looks at the state, says what is decided, keeps nothing.

    tests/contracts/test_scheduler.py holds each row of SCHEDULERS to: every trial that reaches a
    rung gets exactly one verdict there besides "wait"; a refused value never goes on; the same log
    gives the same decisions; a decision names at most NEIGHBOURS others, each with its rank.
    """

    segments_end_at_rungs: bool  # whether a trial gives its slot back at every rung
    synchronous: bool  # whether a rung needs all of its trials before anyone goes on

    def at_rung(self, state: JobState, trial: Trial, rung: int) -> Decision:
        """The verdict on a trial whose usable value at `rung` was just recorded."""
        ...

    def closing(self, state: JobState) -> Iterator[Decision]:
        """The verdicts of a rung that has just become complete; empty where none has."""
        ...

    def promotion(self, state: JobState) -> Decision | None:
        """With a slot free: a waiting trial that may go on now, the highest rung first."""
        ...


def decision(
    ranking: Ranking,
    trial: int,
    rung: int,
    verdict: str,
    rule: str,
    cutoff: int | None = None,
    places: Mapping[int, int] | None = None,
) -> Decision:
    """A decision with the trial's rank and the competitors nearest to the cut.

    Args:
        cutoff: ranks up to this one go on; None where nothing is compared.
        places: trial → trials ahead of it, where the caller has ranked them all.
    """
    value = ranking.values[trial]
    rank: int | None = None
    neighbours: tuple[Neighbour, ...] = ()
    if cutoff is not None:
        if places is None:
            near = {trial, *ranking.near(cutoff, NEIGHBOURS // 2 + 1)}
            places = {t: ranking.position(t) for t in near}
        rank = places[trial] + 1
        others = sorted(
            (abs(place + 0.5 - cutoff), place, t) for t, place in places.items() if t != trial
        )
        neighbours = tuple(
            Neighbour(t, ranking.values[t].metric, ranking.values[t].loss, place + 1)
            for place, t in sorted((place, t) for _, place, t in others[:NEIGHBOURS])
        )
    return Decision(
        trial=trial,
        rung=rung,
        verdict=verdict,
        rule=rule,
        size=len(ranking),
        rank=rank,
        cutoff=cutoff,
        metric=value.metric,
        loss=value.loss,
        neighbours=neighbours,
    )
