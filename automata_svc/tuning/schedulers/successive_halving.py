"""Synchronous successive halving that promotes: a rung decides when all of its trials are there.

Jamieson & Talwalkar 2016 (arXiv:1502.07943); their r and η are replaced by a table of shares and
keeps (a recipe of the price). Trials wait with their checkpoint and go on from it.
"""

from __future__ import annotations

from collections.abc import Iterator

from automata_svc.tuning.events import Decision
from automata_svc.tuning.schedulers.base import decision
from automata_svc.tuning.state import JobState, Trial


class SuccessiveHalving:
    """Keeps the best `keep` of each rung; ties to the lower trial number."""

    segments_end_at_rungs = True
    synchronous = True

    def at_rung(self, state: JobState, trial: Trial, rung: int) -> Decision:
        expected = expected_at(state, rung)
        arrived = len(state.rungs[rung]) + state.settled[rung]
        rule = f"waits for the rung to fill ({arrived} of {expected} are there)"
        return decision(state.rungs[rung], trial.number, rung, "wait", rule)

    def closing(self, state: JobState) -> Iterator[Decision]:
        for rung, spec in enumerate(state.plan.rungs):
            if state.rungs[rung].parked == 0:
                continue
            ranking = state.rungs[rung]
            if len(ranking) + state.settled[rung] < expected_at(state, rung):
                return
            order = ranking.order()
            places = {number: place for place, number in enumerate(order)}
            waits = [t for t in order if state.trials[t].state == "WAITING"]
            keep = spec.keep if spec.keep is not None else 1
            for place, number in enumerate(waits):
                verdict = "promote" if place < keep else "prune"
                rule = f"best {min(keep, len(waits))} of {len(waits)} go on"
                yield decision(ranking, number, rung, verdict, rule, keep, places)
            return

    def promotion(self, state: JobState) -> Decision | None:
        return None


def expected_at(state: JobState, rung: int) -> int:
    """How many trials a rung waits for."""
    return state.plan.trials if rung == 0 else len(state.promoted[rung - 1])
