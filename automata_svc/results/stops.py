"""Why trials ended, by kind: the table under every report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from automata_svc.tuning.state import JobState, Trial

Kind = Literal["rung", "guard", "failed", "budget", "user", "job", "completed", "going"]


@dataclass(frozen=True)
class Stop:
    """Trials that ended for the same reason."""

    kind: Kind
    what: str  # "rung 1: not among the best 8 of 27", "divergence", "the template raised", …
    trials: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.trials)


NO_VALUE = "no usable value"
ORDER: tuple[Kind, ...] = (
    "rung", "guard", "failed", "budget", "user", "job", "completed", "going",
)  # fmt: skip


def stops(state: JobState) -> tuple[Stop, ...]:
    """Every trial once, grouped; by kind, then by the lowest trial number."""
    groups: dict[tuple[Kind, str], list[int]] = {}
    for trial in state.trials:
        groups.setdefault((kind_of(state, trial), _what(state, trial)), []).append(trial.number)
    found = [Stop(kind, what, tuple(trials)) for (kind, what), trials in groups.items()]
    return tuple(sorted(found, key=lambda stop: (ORDER.index(stop.kind), stop.what, stop.trials)))


def kind_of(state: JobState, trial: Trial) -> Kind:
    """What ended this trial."""
    if not trial.is_over:
        return "going"
    if trial.state == "PRUNED":
        return "rung"
    if trial.state == "STOPPED":
        return "guard"
    if trial.state == "FAILED":
        return "failed"
    if trial.state == "COMPLETED":
        return "completed"
    if state.stop is not None:
        return "user"
    if state.closed is not None and "budget" in f"{trial.move.reason} {state.closed.reason}":
        return "budget"
    return "job"


def _what(state: JobState, trial: Trial) -> str:
    kind = kind_of(state, trial)
    if kind == "rung":
        return _at_rung(state, trial)
    if kind == "guard" and trial.guard is not None:
        return trial.guard.rule
    if kind == "failed" and trial.losses:
        return LOST.get(trial.losses[-1].reason, trial.losses[-1].reason)
    if kind == "going":
        return trial.state
    return trial.move.reason


def _at_rung(state: JobState, trial: Trial) -> str:
    decision = trial.decisions[-1]
    where = f"rung {decision.rung + 1}"
    if decision.cutoff is None:  # the gate refused its value: nothing was compared
        return f"{where}: {NO_VALUE}"
    keep = state.plan.rungs[decision.rung].keep
    if keep is None:  # asynchronous: the cut moves with each arrival
        return f"{where}: not among those that go on"
    return f"{where}: not among the best {keep} of {len(state.rungs[decision.rung])}"


# Why a segment was lost, in words.
LOST: Mapping[str, str] = {
    "error": "the template raised",
    "worker lost": "its worker was lost",
    "silent": "no report within its deadline",
    "checkpoint": "a checkpoint did not load",
}
