"""No early stopping: every trial runs to the end of the search, in order."""

from __future__ import annotations

from collections.abc import Iterator

from automata_svc.tuning.events import Decision
from automata_svc.tuning.schedulers.base import decision
from automata_svc.tuning.state import JobState, Trial


class Fifo:
    """One rung, at max_share."""

    segments_end_at_rungs = True
    synchronous = False

    def at_rung(self, state: JobState, trial: Trial, rung: int) -> Decision:
        return decision(state.rungs[rung], trial.number, rung, "complete", "ran to the end")

    def closing(self, state: JobState) -> Iterator[Decision]:
        return iter(())

    def promotion(self, state: JobState) -> Decision | None:
        return None
