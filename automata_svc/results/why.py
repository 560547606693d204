"""Why a trial stands where it stands: its rung's whole table, as it was when that was decided.

A decision in the log names its rule, rung size, cut, rank and nearest competitors. The rest is
rebuilt here from the arrivals up to that moment, and `agrees` says whether the rebuilt rank is the
recorded one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automata_svc.errors import NotFound
from automata_svc.results.standing import share_of
from automata_svc.results.stops import LOST, Kind, kind_of
from automata_svc.tuning import events as ev
from automata_svc.tuning.ranking import Ranking
from automata_svc.tuning.state import JobState, Trial

NEAREST = 5  # competitors around the cut that are shown first


@dataclass(frozen=True)
class Competitor:
    """A line of the rung's table."""

    rank: int  # from 1
    trial: int
    metric: float | None  # None: refused by the gate, so it stands last
    loss: float | None
    above_cut: bool
    now: str  # the state it is in today


@dataclass(frozen=True)
class Step:
    """A verdict on the trial, in the order in which they came."""

    rung: int  # from 1
    share: float
    verdict: str
    rule: str
    metric: float | None
    loss: float | None
    rank: int | None
    size: int


@dataclass(frozen=True)
class Why:
    """The answer to `automata why JOB TRIAL`."""

    job: str
    trial: int
    state: str
    kind: Kind
    metric: str  # the names of the two values that a place may be decided by
    loss_metric: str
    verdict: str  # one sentence
    params: Mapping[str, Any]
    origin: str
    share: float
    rule: str = ""
    rung: int | None = None  # from 1; None where no rung was reached
    rung_share: float | None = None
    size: int = 0  # trials with a place in the rung at that moment
    rank: int | None = None
    cutoff: int | None = None
    table: tuple[Competitor, ...] = ()  # the whole rung, best first
    nearest: tuple[Competitor, ...] = ()  # the competitors next to the cut, the trial not included
    agrees: bool | None = None  # rebuilt rank = recorded rank; None: no rank was recorded
    path: tuple[Step, ...] = ()
    guard: Mapping[str, Any] | None = None
    losses: tuple[Mapping[str, Any], ...] = ()  # segments that were lost, with their traceback
    since: tuple[str, ...] = field(default=())  # what happened after the verdict


def why(state: JobState, trial: int) -> Why:
    """Explains one trial.

    Raises:
        NotFound: the job has no trial of that number.
    """
    if not 0 <= trial < len(state.trials):
        last = len(state.trials) - 1
        has = f"its trials are 0 to {last}" if last >= 0 else "it has no trials yet"
        raise NotFound(f"job {state.plan.job} has no trial {trial}; {has}")
    one = state.trials[trial]
    decided = _decisive(one)
    facts: dict[str, Any] = {}
    if decided is not None:
        facts = _rung_facts(state, one, decided)
    return Why(
        job=state.plan.job,
        trial=trial,
        state=one.state,
        kind=kind_of(state, one),
        metric=state.plan.metric,
        loss_metric=state.plan.loss_metric,
        verdict=_sentence(state, one, decided),
        params=dict(one.params),
        origin=one.origin,
        share=share_of(state, one),
        path=tuple(_step(state, decision) for decision in _settled(one.decisions)),
        guard=dict(vars(one.guard)) if one.guard is not None else None,
        losses=tuple(
            {k: v for k, v in vars(lost).items() if k not in ("trial", "time")}
            for lost in one.losses
        ),
        since=tuple(_since(state, one, decided)),
        **facts,
    )


def _decisive(trial: Trial) -> ev.Decision | None:
    """The verdict that put the trial where it is: the last that compared it, else the last."""
    compared = [d for d in trial.decisions if d.cutoff is not None]
    if trial.decisions and (trial.state == "PRUNED" or not compared):
        return trial.decisions[-1]
    return compared[-1] if compared else None


def _rung_facts(state: JobState, trial: Trial, decided: ev.Decision) -> dict[str, Any]:
    size = decided.size if decided.cutoff is not None else len(state.rungs[decided.rung])
    ranking = ranking_at(state, decided.rung, size)
    order = ranking.order()
    table = tuple(
        Competitor(
            rank=place,
            trial=number,
            metric=ranking.values[number].metric,
            loss=ranking.values[number].loss,
            above_cut=decided.cutoff is not None and place <= decided.cutoff,
            now=state.trials[number].state,
        )
        for place, number in enumerate(order, start=1)
    )
    rebuilt = order.index(trial.number) + 1 if trial.number in ranking.values else None
    near: tuple[Competitor, ...] = ()
    if decided.cutoff is not None:
        cut = decided.cutoff + 0.5
        others = sorted((abs(c.rank - cut), c.rank, c) for c in table if c.trial != trial.number)
        near = tuple(sorted((c for *_, c in others[:NEAREST]), key=lambda c: c.rank))
    return {
        "rule": decided.rule,
        "rung": decided.rung + 1,
        "rung_share": state.plan.rungs[decided.rung].share,
        "size": size,
        "rank": decided.rank if decided.rank is not None else rebuilt,
        "cutoff": decided.cutoff,
        "table": table,
        "nearest": near,
        "agrees": None if decided.rank is None else decided.rank == rebuilt,
    }


def ranking_at(state: JobState, rung: int, size: int) -> Ranking:
    """A rung as it was when `size` trials had arrived."""
    ranking = Ranking(state.plan.mode, state.plan.ranks_by(rung))
    for value in list(state.rungs[rung].values.values())[:size]:  # kept in order of arrival
        ranking.add(value)
    return ranking


def _settled(decisions: Sequence[ev.Decision]) -> list[ev.Decision]:
    """Without the waits that a verdict at the same rung ended."""
    ended = {decision.rung for decision in decisions if decision.verdict != "wait"}
    return [one for one in decisions if one.verdict != "wait" or one.rung not in ended]


def _step(state: JobState, decision: ev.Decision) -> Step:
    return Step(
        rung=decision.rung + 1,
        share=state.plan.rungs[decision.rung].share,
        verdict=decision.verdict,
        rule=decision.rule,
        metric=decision.metric,
        loss=decision.loss,
        rank=decision.rank,
        size=decision.size,
    )


def _sentence(state: JobState, trial: Trial, decided: ev.Decision | None) -> str:
    name, kind = f"Trial {trial.number}", kind_of(state, trial)
    if kind == "rung" and decided is not None:
        where = f"at rung {decided.rung + 1} (share {_share(state, decided.rung)})"
        if decided.cutoff is None:
            return f"{name} was stopped {where}: {decided.rule}."
        return (
            f"{name} was stopped {where}: rank {decided.rank} of {decided.size} by "
            f"{ranked_by(state, decided.rung)}, and {_best(decided.cutoff)} went on."
        )
    if kind == "guard" and trial.guard is not None:
        at = f"share {share_of(state, trial):.3g}"
        return f"{name} was stopped by the guard {trial.guard.rule} at {at}: {trial.guard.detail}."
    if kind == "failed" and trial.losses:
        lost = trial.losses[-1]
        last = lost.detail.strip().splitlines()[-1:] or ["no detail"]
        return f"{name} failed: {LOST.get(lost.reason, lost.reason)}: {last[0].strip()}."
    if kind == "failed":
        return f"{name} failed: {trial.move.reason}."
    if state.result is not None and state.result.trial == trial.number:
        return f"{name} is the winner: {state.result.how}, chosen by {state.plan.metric} there."
    if state.confirm is not None and trial.number in state.confirm.trials:
        place = state.confirm.trials.index(trial.number) + 1
        rung = state.confirm.rung + 1
        return f"{name} is a finalist: rank {place} at rung {rung} when the search ended."
    if kind == "going":
        return f"{name} is {trial.state}: {trial.move.reason}."
    if kind == "completed":
        return f"{name} came to the end of its search: {trial.move.reason}."
    return f"{name} was cancelled: {trial.move.reason}."


def ranked_by(state: JobState, rung: int) -> str:
    """What a place at a rung is decided by, in words."""
    names = {"metric": state.plan.metric, "loss": state.plan.loss_metric}
    found = [names[key] for key in state.plan.ranks_by(rung)]
    return found[0] if len(found) == 1 else f"the better of its ranks in {' and '.join(found)}"


def _since(state: JobState, trial: Trial, decided: ev.Decision | None) -> list[str]:
    found: list[str] = []
    if decided is not None and decided.cutoff is not None:
        ranking = state.rungs[decided.rung]
        later = len(ranking) - decided.size
        if later > 0:
            place = ranking.position(trial.number) + 1
            found.append(
                f"{later} more {_trials(later)} reached rung {decided.rung + 1}; among all "
                f"{len(ranking)} it stands at rank {place}."
            )
        upper = decided.rung + 1
        if upper < len(state.rungs) and len(state.rungs[upper]):
            above = state.rungs[upper]
            so_far = "" if state.is_over else " so far"
            line = f"{len(above)} {_trials(len(above))} came to rung {upper + 1}{so_far}"
            best = above.best()
            if best is not None:
                value = above.values[best].metric
                line += f"; the best there is trial {best} with {state.plan.metric} {value:.4g}"
            found.append(line + ".")
    if state.result is not None and state.result.trial != trial.number:
        found.append(_winner(state, state.result, decided))
    return found


def _winner(state: JobState, result: ev.ConfirmResult, decided: ev.Decision | None) -> str:
    winner = result.trial
    value = result.val.get(state.plan.metric)
    line = f"The job's winner is trial {winner}"
    if value is not None:
        line += f", confirmed {state.plan.metric} {value:.4g}"
    if decided is not None and winner in state.rungs[decided.rung].values:
        place = state.rungs[decided.rung].position(winner) + 1
        line += f"; at rung {decided.rung + 1} it stands at rank {place}"
    return line + "."


def _best(cutoff: int) -> str:
    return f"the best {cutoff}" if cutoff != 1 else "only the best"


def _trials(count: int) -> str:
    return "trial" if count == 1 else "trials"


def _share(state: JobState, rung: int) -> str:
    return f"{state.plan.rungs[rung].share:.3g}"
