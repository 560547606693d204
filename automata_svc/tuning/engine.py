"""The loop that ties the pure decider to a log and a runner.

    handle(input): decide → encode → decode → evolve, event by event; one append; then orders go
    out.

Nothing is acted on before it is stored, and decisions are computed from events as decoded from
their stored text, so a number that storage would change cannot split the two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from automata_svc.errors import AutomataError
from automata_svc.trials.types import PassTable, Reply, SegmentOrder, StrategyOrder
from automata_svc.tuning import events as ev
from automata_svc.tuning import inputs as given
from automata_svc.tuning.decide import Decider
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.state import JobState, Trial


class EventLog(Protocol):
    """Where a job's events are kept, in order; a database, or a list in tests."""

    def load(self) -> Iterable[tuple[int, float, str, str]]:
        """(seq, at, kind, body text) of every stored event, in order."""
        ...

    def append(self, first_seq: int, at: float, events: Sequence[tuple[str, str]]) -> None:
        """Stores them as first_seq, first_seq + 1, … in one transaction; or raises, and none is."""
        ...


# Between two of them a driver does one thing: decide, store, act.
FAULT_POINTS = ("decided", "appended", "acted")


@dataclass(frozen=True)
class Faults:
    """Where a test may make the driver die (FAULT_POINTS); does nothing in production."""

    at: Callable[[str], None] = lambda name: None


class Engine:
    """Owns one job's state. Every call is safe from any thread; one at a time goes through."""

    def __init__(
        self,
        plan: SearchPlan,
        log: EventLog,
        clock: Callable[[], float],
        *,
        on_events: Callable[[JobState, Sequence[ev.Event]], None] | None = None,
        drop_blobs: Callable[[Sequence[str]], None] | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.plan = plan
        self.state = JobState(plan)
        self._log = log
        self._clock = clock
        self._on_events = on_events
        self._drop_blobs = drop_blobs
        self._faults = faults or Faults()
        self._lock = threading.RLock()
        self._orders: list[SegmentOrder] = []
        self._broken = False
        for seq, at, kind, text in log.load():
            evolve(self.state, seq, at, ev.decode(kind, text))
        self._decider = Decider(plan)

    # ---- what runners use
    # -------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Nothing more will be ordered: the job is over or paused, or waits for its next driver
        (or the engine broke)."""
        state = self.state
        waits = state.state in ("QUEUED", "STARTING") and bool(state.drivers)
        return self._broken or state.is_over or state.state == "PAUSED" or waits

    @property
    def broken(self) -> bool:
        """Whether the state is ahead of the log, and of no use any more."""
        return self._broken

    def handle(self, *inputs: given.Input) -> None:
        """Decides on the inputs in order, stores what was decided, then lets it be acted on.

        Raises whatever the log raises; the engine is then unusable, since its state is ahead of
        the log.
        """
        with self._lock:
            if self._broken:
                raise AutomataError("this driver lost its log and must not go on")
            now = self._clock()
            texts: list[tuple[str, str]] = []
            happened: list[ev.Event] = []
            first = self.state.seq + 1
            try:  # an interrupt in here leaves a state that is ahead of the log, too
                for what in inputs:
                    for event in self._decider.decide(self.state, what, now):
                        text = ev.encode(event)
                        stored = ev.decode(*text)
                        evolve(self.state, self.state.seq + 1, now, stored)
                        texts.append(text)
                        happened.append(stored)
                if not texts:
                    return
                self._faults.at("decided")
                self._log.append(first, now, texts)
            except BaseException:
                self._broken = True
                raise
            self._faults.at("appended")
            self._orders.extend(
                segment_order(self.state, event)
                for event in happened
                if isinstance(event, ev.SegmentStarted)
            )
            garbage, self.state.garbage = self.state.garbage, []
            if self._on_events is not None:
                self._on_events(self.state, happened)
            if garbage and self._drop_blobs is not None:
                self._drop_blobs(garbage)
            self._faults.at("acted")

    def take_orders(self, most: int | None = None) -> list[SegmentOrder]:
        """Segments to start now; each is handed out once and is still wanted."""
        with self._lock:
            wanted = [order for order in self._orders if self.wants(order.trial, order.segment)]
            taken = wanted if most is None else wanted[:most]
            self._orders = wanted[len(taken) :]
            return taken

    def wants(self, trial: int, segment: int) -> bool:
        """Whether this segment still holds its slot."""
        opened = self.state.open.get(trial)
        return opened is not None and opened.number == segment and not self.finished

    def report(self, what: given.Reported) -> Reply:
        """Handles a report and answers its worker."""
        with self._lock:
            self.handle(what)
            return "continue" if self.wants(what.report.trial, what.report.segment) else "stop"

    def could_start(self) -> bool:
        """Whether one more slot would be used at once."""
        with self._lock:
            return not self.finished and self._decider.could_start(self.state)

    def referenced_blobs(self) -> set[str]:
        """Checkpoints that the state may still ask for; any other of the job's is an orphan."""
        keys = {key for trial in self.state.trials for key in trial.checkpoints.values()}
        if self.state.result is not None and self.state.result.checkpoint is not None:
            keys.add(self.state.result.checkpoint)
        return keys


def segment_order(state: JobState, event: ev.SegmentStarted) -> SegmentOrder:
    """What a worker needs to carry a stored `segment_started` out."""
    plan, trial = state.plan, state.trials[event.trial]
    start, end = event.from_boundary, event.to_boundary
    if event.phase == "search":
        table = plan.table
        values = {r.boundary: r.eval_rows for r in plan.rungs if start < r.boundary <= end}
        strategy = _search_strategy(plan, state)
    else:
        table = plan.confirm_table(trial.search_boundary)
        values = dict.fromkeys((b for b in plan.confirm_values(table) if start < b <= end), 0)
        strategy = StrategyOrder("full")
    return SegmentOrder(
        job=plan.job,
        trial=trial.number,
        segment=event.segment,
        phase=event.phase,
        params={**plan.fixed, **trial.params},
        seed=plan.seed,
        table=table,
        from_boundary=start,
        to_boundary=end,
        checkpoint=event.checkpoint,
        values_at=values,
        checkpoints_at=plan.checkpoints(table, start, end),
        strategy=strategy,
        finish=plan.finish,
        threads=plan.threads,
        max_share=_max_share(plan, trial, table),
        average=plan.average and event.phase == "search",
    )


def _search_strategy(plan: SearchPlan, state: JobState) -> StrategyOrder:
    # A curriculum is gone through where subsets are trained on: the confirmation takes all rows.
    walks = -(-plan.rungs[-1].rows // plan.table.subset_rows)
    ready = state.subset
    return StrategyOrder(
        name=plan.strategy,
        options=plan.strategy_options,
        select_every=plan.select_every,
        total_selections=max(1, -(-walks // plan.select_every)),
        artefact=ready.artefact if ready is not None else None,
    )


def _max_share(plan: SearchPlan, trial: Trial, table: PassTable) -> float:
    # A confirmation that starts over is a training of its own: the search saw a shorter one.
    if trial.phase == "search" and plan.confirm and not plan.resume:
        return plan.rungs[-1].share
    return 1.0
