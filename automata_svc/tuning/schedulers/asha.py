"""Asynchronous successive halving, the stopping form: decided on arrival, nobody waits.

Li et al. 2020 (arXiv:1810.05934), as Ray Tune's ASHA stops: a trial goes on when it is in the top
1/η of those recorded at the rung so far, itself included, so that first arrivals always pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from automata_svc.tuning.events import Decision
from automata_svc.tuning.schedulers.base import decision
from automata_svc.tuning.state import JobState, Trial


class Asha:
    """η is the plan's reduction_factor."""

    segments_end_at_rungs = False
    synchronous = False

    def at_rung(self, state: JobState, trial: Trial, rung: int) -> Decision:
        ranking = state.rungs[rung]
        if rung == len(state.plan.rungs) - 1:
            return decision(ranking, trial.number, rung, "complete", "reached the last rung")
        cutoff = math.ceil(len(ranking) / state.plan.reduction_factor)  # 1 at least
        goes_on = ranking.in_top(trial.number, cutoff)
        rule = f"best {cutoff} of the {len(ranking)} seen so far go on"
        verdict = "continue" if goes_on else "prune"
        return decision(ranking, trial.number, rung, verdict, rule, cutoff)

    def closing(self, state: JobState) -> Iterator[Decision]:
        return iter(())

    def promotion(self, state: JobState) -> Decision | None:
        return None
