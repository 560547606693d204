"""Checks that a log replays to exactly the decisions it records.

Facts (reports, lost segments, commands, ticks) are taken from the log; what was decided on each of
them is derived again and compared. A stretch written by another version is applied and not
compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from automata_svc import __version__
from automata_svc.trials.types import Report
from automata_svc.tuning import events as ev
from automata_svc.tuning import inputs as given
from automata_svc.tuning.decide import Decider
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState

Row = tuple[int, float, str, str]  # seq, at, kind, body text


def divergences(plan: SearchPlan, rows: Sequence[Row]) -> list[ev.ReplayDivergence]:
    """Every recorded decision that deriving it again does not give; [] for a sound log."""
    state, decider = JobState(plan), Decider(plan)
    found: list[ev.ReplayDivergence] = []
    index, ours = 0, True
    while index < len(rows):
        batch = _batch(rows, index)
        index += len(batch)
        first = ev.decode(batch[0][2], batch[0][3])
        if isinstance(first, ev.DriverStarted):
            ours = first.versions.get("automata") == __version__
        found.extend(_compare(state, decider, batch, first, ours))
    return found


def _batch(rows: Sequence[Row], start: int) -> Sequence[Row]:
    """A fact and all that was decided on it."""
    end = start + 1
    while end < len(rows) and rows[end][2] not in _FACT_KINDS:
        end += 1
    return rows[start:end]


def _compare(
    state: JobState, decider: Decider, batch: Sequence[Row], fact: ev.Event, ours: bool
) -> Iterator[ev.ReplayDivergence]:
    what = _INPUTS[type(fact)](state, fact) if type(fact) in _INPUTS else None
    derived = decider.decide(state, what, batch[0][1]) if what is not None and ours else None
    for place, (seq, at, kind, text) in enumerate(batch):
        recorded = ev.decode(kind, text)
        if derived is not None:
            event = next(derived, None)
            again = None if event is None else ev.encode(event)
            if place > 0 and again != (kind, text):
                yield ev.ReplayDivergence(seq, f"{kind} {text}", _shown(again))
                derived = None
        evolve(state, seq, at, recorded)
    if derived is not None:
        more = next(derived, None)
        if more is not None:
            yield ev.ReplayDivergence(batch[-1][0] + 1, "nothing", _shown(ev.encode(more)))


def _shown(encoded: tuple[str, str] | None) -> str:
    return "nothing" if encoded is None else " ".join(encoded)


def _driver(state: JobState, event: ev.DriverStarted) -> given.Input:
    return given.DriverStart(event.versions, event.template_sha, event.slots, event.runner)


def _subset(state: JobState, event: ev.SubsetReady) -> given.Input:
    return given.SubsetBuilt(
        event.artefact, event.hit, event.seconds, event.forward_rows, event.note
    )


def _report(state: JobState, event: ev.Passes) -> given.Input:
    values: dict[str, Any] | None = dict(event.values) if event.valued else None
    return given.Reported(
        Report(
            trial=event.trial,
            segment=event.segment,
            boundary=event.boundary,
            passes=event.passes,
            values=values,
            checkpoint=event.checkpoint,
            cost=event.cost,
            trip=event.trip,
            done=event.done,
        )
    )


def _lost(state: JobState, event: ev.SegmentLost) -> given.Input:
    return given.SegmentFailed(event.trial, event.segment, event.reason, event.detail, event.retry)


_INPUTS: Mapping[type[ev.Event], Any] = MappingProxyType(
    {
        ev.DriverStarted: _driver,
        ev.SubsetReady: _subset,
        ev.Passes: _report,
        ev.SegmentLost: _lost,
        ev.SegmentClaimed: lambda state, event: given.Claimed(event.client_id, event.trial),
        ev.SlotsChanged: lambda state, event: given.SlotsSet(event.slots),
        ev.Command: lambda state, event: given.Asked(event.verb, event.reason),
        ev.Tick: lambda state, event: given.Ticked(event.alive_s - state.alive_s),
    }
)
_FACT_KINDS = frozenset(kind for kind, event in ev.KINDS.items() if event in ev.FACTS)
