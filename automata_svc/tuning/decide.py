"""What follows from an input: the whole of a job's behaviour, without a clock, I/O or Ray.

`decide` is a generator of events. Whoever drives it stores nothing yet but applies each event to
the state before asking for the next, so the story below reads in the order in which it happens. All
events of one input are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from automata_svc.trials.types import Report
from automata_svc.tuning import events as ev
from automata_svc.tuning import inputs as given
from automata_svc.tuning.costing import affordable
from automata_svc.tuning.finalists import OUT, choose_finalists
from automata_svc.tuning.gate import gate
from automata_svc.tuning.guards import GUARDS
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.searchers import SEARCHERS
from automata_svc.tuning.state import JOB_ENDS, JobState, Trial


class Decider:
    """Decides for one plan. Keeps no state of the job; a searcher may cache its model."""

    def __init__(self, plan: SearchPlan) -> None:
        self.plan = plan
        self.scheduler = SCHEDULERS[plan.scheduler]
        self.searcher = SEARCHERS[plan.search].start(plan)

    def decide(self, state: JobState, what: given.Input, time: float) -> Iterator[ev.Event]:
        """Events that follow; the caller applies each to `state` before taking the next."""
        if state.is_over:
            return
        yield from _FACTS[type(what)](self, state, what, time)
        if state.state == "RUNNING":
            yield from self._proceed(state, time)

    # ---- facts
    # ------------------------------------------------------------------------------------

    def driver_start(
        self, state: JobState, what: given.DriverStart, time: float
    ) -> Iterator[ev.Event]:
        yield ev.DriverStarted(
            dict(what.versions), what.template_sha, what.slots, what.runner, time
        )
        if state.state != "RUNNING":
            yield ev.JobState("RUNNING", f"driver {len(state.drivers)} started", time)

    def subset_built(
        self, state: JobState, what: given.SubsetBuilt, time: float
    ) -> Iterator[ev.Event]:
        if state.subset is None:
            yield ev.SubsetReady(
                what.artefact, what.hit, what.seconds, what.forward_rows, what.note
            )

    def reported(self, state: JobState, what: given.Reported, time: float) -> Iterator[ev.Event]:
        report = what.report
        trial = state.trials[report.trial] if report.trial < len(state.trials) else None
        if trial is None or trial.open is None or trial.open.number != report.segment:
            return  # from a segment that was given up: a worker outlives its driver by seconds
        phase, rung_before = trial.phase, trial.rung
        yield self._through_the_gate(report, time)
        if phase == "test":
            return
        yield from self._guard(state, trial, report)
        if trial.is_over:
            return
        if phase == "search" and trial.rung > rung_before:
            yield from self._at_rung(state, trial, rung_before, time)
        elif phase == "confirm" and trial.confirmed and not trial.confirm_values:
            yield ev.TrialEnded(trial.number, "FAILED", "no usable value in its confirmation", time)

    def segment_failed(
        self, state: JobState, what: given.SegmentFailed, time: float
    ) -> Iterator[ev.Event]:
        trial = state.trials[what.trial]
        if trial.open is None or trial.open.number != what.segment:
            return
        if what.reason == given.STORAGE:
            yield from self.asked(state, given.Asked("halt", what.detail), time)
        else:
            yield ev.SegmentLost(
                what.trial, what.segment, what.reason, what.detail, what.retry, time
            )

    def claimed(self, state: JobState, what: given.Claimed, time: float) -> Iterator[ev.Event]:
        number = state.unclaimed() if what.trial is None else what.trial
        opened = None if number is None else state.open.get(number)
        if number is not None and opened is not None and opened.client in (None, what.client):
            yield ev.SegmentClaimed(number, opened.number, what.client, time)

    def slots_set(self, state: JobState, what: given.SlotsSet, time: float) -> Iterator[ev.Event]:
        if what.slots != state.slots:
            yield ev.SlotsChanged(what.slots)

    def asked(self, state: JobState, what: given.Asked, time: float) -> Iterator[ev.Event]:
        yield ev.Command(what.verb, what.reason, time)
        came_from, to, usual = given.VERBS[what.verb]
        if state.state not in came_from:
            return  # it came too late: what it is about has passed
        reason = what.reason or usual
        if to in JOB_ENDS:
            for trial in state.trials:
                if not trial.is_over:
                    yield ev.TrialEnded(trial.number, "CANCELLED", reason, time)
        yield ev.JobState(to, reason, time)

    def ticked(self, state: JobState, what: given.Ticked, time: float) -> Iterator[ev.Event]:
        limit = self.plan.wall_clock_s
        if limit is None:
            return
        yield ev.Tick(state.alive_s + what.seconds)
        if state.alive_s >= limit and state.closed is None and state.confirm is None:
            yield ev.SearchClosed(f"budget: {limit:g} s of driver time are over", time)

    # ---- what a report leads to
    # -------------------------------------------------------------------

    def _through_the_gate(self, report: Report, time: float) -> ev.Passes:
        valued = report.values is not None
        passed = gate(report.values or {}, self.plan.metric, self.plan.loss_metric)
        return ev.Passes(
            trial=report.trial,
            segment=report.segment,
            boundary=report.boundary,
            passes=report.passes,
            metric=passed.metric,
            loss=passed.loss,
            values=passed.values,
            refused=passed.refused if valued else "",
            valued=valued,
            checkpoint=report.checkpoint,
            cost=report.cost,
            trip=report.trip,
            done=report.done,
            time=time,
        )

    def _guard(self, state: JobState, trial: Trial, report: Report) -> Iterator[ev.Event]:
        for rule in self.plan.guards:
            name = rule["type"]
            trip = GUARDS[name].check(trial.memory, report.trip, rule)
            if trip is not None:
                yield ev.Guard(
                    trial.number, report.boundary, name, trip.detail, trip.value, trip.limit
                )
                yield ev.TrialEnded(trial.number, "STOPPED", f"guard {name}: {trip.detail}")
                return
        if report.trip is not None:  # the worker cannot go on, whether or not a guard was asked for
            yield ev.TrialEnded(trial.number, "STOPPED", f"the worker stopped it: {report.trip}")

    def _at_rung(self, state: JobState, trial: Trial, rung: int, time: float) -> Iterator[ev.Event]:
        value = trial.values[rung]
        if value.metric is None:
            yield ev.Decision(
                trial.number, rung, "prune", trial.refused, len(state.rungs[rung]), None, None,
                None, value.loss, (), time,
            )  # fmt: skip
            return
        decided = self.scheduler.at_rung(state, trial, rung)
        if decided.verdict == "continue":
            if state.closed is None and not affordable(state, trial, rung + 1):
                yield ev.SearchClosed(self._out_of_budget(state), time)
            if state.closed is not None:
                decided = ev.Decision(
                    trial.number, rung, "complete", f"the search is over: {state.closed.reason}",
                    decided.size, decided.rank, decided.cutoff, decided.metric, decided.loss,
                    decided.neighbours,
                )  # fmt: skip
        yield _at(decided, time)

    # ---- what follows from the state
    # --------------------------------------------------------------

    def _proceed(self, state: JobState, time: float) -> Iterator[ev.Event]:
        if state.failed > self.plan.max_failed_trials:
            reason = (
                f"{state.failed} trials failed (max_failed_trials {self.plan.max_failed_trials})"
            )
            yield from self._fail(state, reason, time)
            return
        if state.subset is None:
            return
        if state.confirm is None and state.closed is None:
            yield from self._close_if_reached(state, time)
        if state.confirm is None and state.closed is None:
            for decided in self.scheduler.closing(state):
                yield _at(decided, time)
        while state.free_slots > 0 and not state.is_over:
            step = self._next_start(state, time)
            if step is None:
                break
            yield step
        # Without a slot nothing was tried, and what was not tried is not over.
        if state.free_slots > 0 and not state.open and not state.ready and not state.is_over:
            yield from self._finish(state, time)

    def could_start(self, state: JobState) -> bool:
        """Whether one more slot would be used."""
        if state.ready:
            return True
        if state.confirm is not None or state.closed is not None:
            return False
        return len(state.trials) < self.plan.trials or self.scheduler.promotion(state) is not None

    def _close_if_reached(self, state: JobState, time: float) -> Iterator[ev.Event]:
        patience = self.plan.no_improve_trials
        if state.goal_reached is not None:
            yield ev.SearchClosed(
                f"goal: trial {state.goal_reached} reached {self.plan.metric} {self.plan.goal:g}",
                time,
            )
        elif patience is not None and state.since_improved >= patience:
            yield ev.SearchClosed(
                f"budget: no better first-rung value in {state.since_improved} trials", time
            )

    def _next_start(self, state: JobState, time: float) -> ev.Event | None:
        """The one next thing to do with a free slot."""
        if state.ready:
            _, number, _, reason = state.ready[0]
            trial = state.trials[number]
            if trial.phase == "search" and not affordable(state, trial, trial.rung):
                if state.closed is None:
                    return ev.SearchClosed(self._out_of_budget(state), time)
                return ev.TrialEnded(number, "CANCELLED", "the budget cannot pay its retry", time)
            return self._segment(state, trial, reason, time)
        if state.confirm is not None or state.closed is not None:
            return None
        promotion = self.scheduler.promotion(state)
        if promotion is not None:
            return _at(promotion, time)
        if len(state.trials) < self.plan.trials:
            if not affordable(state, None, 0):
                return ev.SearchClosed(self._out_of_budget(state), time)
            number = len(state.trials)
            proposal = self.searcher.propose(state, number)
            return ev.TrialProposed(number, proposal.params, state.seq, proposal.origin, time)
        return None

    def _segment(
        self, state: JobState, trial: Trial, reason: str, time: float
    ) -> ev.SegmentStarted:
        plan = self.plan
        if trial.phase == "search":
            start = max(trial.checkpoints, default=0)
            last = plan.rungs[-1].boundary
            end = plan.rungs[trial.rung].boundary if self.scheduler.segments_end_at_rungs else last
            checkpoint = trial.checkpoints.get(start)
        elif trial.phase == "confirm":
            table = plan.confirm_table(trial.search_boundary)
            start = max(trial.checkpoints, default=trial.search_boundary)
            checkpoint = trial.checkpoints.get(start)
            if start == trial.search_boundary and not plan.resume:
                checkpoint = None
            end = table.last
        else:
            best = state.best_confirmed(trial)
            start = end = trial.search_boundary if best is None else best
            checkpoint = trial.checkpoints.get(start)
        return ev.SegmentStarted(
            trial.number, trial.segment, trial.phase, start, end, checkpoint, reason, time
        )

    def _out_of_budget(self, state: JobState) -> str:
        confirm = " and to confirm the best" if self.plan.confirm else ""
        return (
            f"budget: {state.price:.3g} of price {self.plan.price_limit:g} is spent and the rest "
            f"is needed to finish what runs{confirm}"
        )

    # ---- the end
    # ----------------------------------------------------------------------------------

    def _finish(self, state: JobState, time: float) -> Iterator[ev.Event]:
        if state.confirm is None:
            yield from self._end_search(state, time)
            yield from self._start_now(state, time)
        if state.confirm is None or state.open or state.ready:
            return
        # A trial that its search took to share 1 is COMPLETED, and stands.
        finalists = [state.trials[number] for number in state.confirm.trials]
        standing = [trial for trial in finalists if trial.state not in OUT]
        if not standing:
            yield from self._fail(state, "no finalist came through its confirmation", time)
            return
        best = min(standing, key=lambda trial: self._confirmed_key(state, trial))
        if best.phase != "test" or state.test_values is None:
            yield ev.SegmentStarted(
                best.number, best.segment, "test", *self._best_model(state, best),
                "test values of the best finalist", time,
            )  # fmt: skip
            return
        yield from self._succeed(state, best, time)

    def _start_now(self, state: JobState, time: float) -> Iterator[ev.Event]:
        while state.free_slots > 0 and state.ready and not state.is_over:
            step = self._next_start(state, time)
            if step is None:
                return
            yield step

    def _end_search(self, state: JobState, time: float) -> Iterator[ev.Event]:
        chosen = choose_finalists(state)
        for trial in state.trials:
            if trial.state == "PENDING":
                reason = state.closed.reason if state.closed is not None else "never started"
                yield ev.TrialEnded(trial.number, "CANCELLED", reason, time)
        if not chosen.trials:
            valued = any(len(ranking) and ranking.best() is not None for ranking in state.rungs)
            reason = "no trial has a usable value"
            if valued:
                reason = "nobody is left to confirm: all that went on failed or were stopped"
            yield from self._fail(state, reason, time)
        elif self.plan.confirm:
            yield ev.ConfirmStarted(chosen.trials, chosen.rung, chosen.reason, chosen.ahead, time)
        else:
            yield from self._settle(state, chosen.trials, time)
            yield ev.JobState("SUCCEEDED", f"{chosen.reason}; not confirmed", time)

    def _succeed(self, state: JobState, best: Trial, time: float) -> Iterator[ev.Event]:
        boundary, _, checkpoint = self._best_model(state, best)
        table = self.plan.confirm_table(best.search_boundary)
        test = {k: v for k, v in (state.test_values or {}).items() if k.startswith("test_")}
        yield ev.ConfirmResult(
            best.number,
            boundary,
            table.share_at(boundary),
            checkpoint,
            dict(best.confirm_values[boundary]),
            test,
            self._how(best),
            time,
        )
        confirm = state.confirm
        yield from self._settle(state, confirm.trials if confirm is not None else (), time)
        reason = confirm.reason if confirm is not None else "confirmed"
        yield ev.JobState("SUCCEEDED", reason, time)

    def _settle(self, state: JobState, chosen: tuple[int, ...], time: float) -> Iterator[ev.Event]:
        for trial in state.trials:
            if not trial.is_over:
                reason = "finalist" if trial.number in chosen else "not among the finalists"
                yield ev.TrialEnded(trial.number, "COMPLETED", reason, time)

    def _fail(self, state: JobState, reason: str, time: float) -> Iterator[ev.Event]:
        for trial in state.trials:
            if not trial.is_over:
                yield ev.TrialEnded(trial.number, "CANCELLED", reason, time)
        yield ev.JobState("FAILED", reason, time)

    def _confirmed_key(self, state: JobState, trial: Trial) -> tuple[float, int]:
        boundary = state.best_confirmed(trial)
        if boundary is None:
            return (float("inf"), trial.number)
        value = trial.confirm_values[boundary][self.plan.metric]
        return (-value if self.plan.mode == "max" else value, trial.number)

    def _best_model(self, state: JobState, trial: Trial) -> tuple[int, int, str | None]:
        best = state.best_confirmed(trial)
        boundary = trial.search_boundary if best is None else best
        return boundary, boundary, trial.checkpoints.get(boundary)

    def _how(self, trial: Trial) -> str:
        share = self.plan.table.share_at(trial.search_boundary)
        if not self.plan.resume:
            return "trained again from the start on all rows"
        if share >= 1:
            return "its search already trained it to share 1"
        return f"trained on from share {share:.3g} to 1 on all rows"


def _at(decided: ev.Decision, time: float) -> ev.Decision:
    values: dict[str, Any] = {**vars(decided), "time": time}
    return ev.Decision(**values)


_FACTS: Mapping[type[given.Input], Callable[..., Iterator[ev.Event]]] = MappingProxyType(
    {
        given.DriverStart: Decider.driver_start,
        given.SubsetBuilt: Decider.subset_built,
        given.Reported: Decider.reported,
        given.SegmentFailed: Decider.segment_failed,
        given.Claimed: Decider.claimed,
        given.SlotsSet: Decider.slots_set,
        given.Asked: Decider.asked,
        given.Ticked: Decider.ticked,
    }
)
