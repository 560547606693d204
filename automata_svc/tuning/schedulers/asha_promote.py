"""Asynchronous successive halving, the promoting form of the paper.

Li et al. 2020 (arXiv:1810.05934), algorithm 2: a free slot goes to a waiting trial in the top 1/η
of its rung that was not promoted yet, the highest rung first; else to a new configuration.
"""

from __future__ import annotations

from collections.abc import Iterator

from automata_svc.tuning.events import Decision
from automata_svc.tuning.schedulers.base import decision
from automata_svc.tuning.state import JobState, Trial


class AshaPromote:
    """η is the plan's reduction_factor."""

    segments_end_at_rungs = True
    synchronous = False

    def at_rung(self, state: JobState, trial: Trial, rung: int) -> Decision:
        ranking = state.rungs[rung]
        if rung == len(state.plan.rungs) - 1:
            return decision(ranking, trial.number, rung, "complete", "reached the last rung")
        rule = f"waits at a rung of {len(ranking)} until it is in the best 1/{_eta(state)}"
        return decision(ranking, trial.number, rung, "wait", rule)

    def closing(self, state: JobState) -> Iterator[Decision]:
        return iter(())

    def promotion(self, state: JobState) -> Decision | None:
        for rung in range(len(state.plan.rungs) - 2, -1, -1):
            ranking = state.rungs[rung]
            number = ranking.best_parked()
            cutoff = int(len(ranking) / state.plan.reduction_factor)
            if number is not None and ranking.in_top(number, cutoff):
                rule = f"in the best {cutoff} of the {len(ranking)} at the rung"
                return decision(ranking, number, rung, "promote", rule, cutoff)
        return None


def _eta(state: JobState) -> str:
    return f"{state.plan.reduction_factor:g}"
