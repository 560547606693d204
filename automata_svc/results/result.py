"""The JSON of a job: what `tune -o json` and `show -o json` print. Keys are only ever added.

    job_id, name, state, reason, metric, mode
    best       {trial, params, settings, search_metric, rung, ranks [{rung, rank, of}],
               confirmed {val, test} | null, how, share}
               null until a trial has a usable value; before the confirmation the best so far
    trials     [{number, state, reason, kind, params, origin, rung, share, metric, loss, price,
               passes, segments, retries, values [{rung, share, metric, loss}]}]
               `rung`: rungs reached; `metric`, `loss`: at the highest of them; `kind`: as `stopped`
    rungs      [{rung, asked, share, rows, keep, arrived, went_on, best {trial, metric} | null}]
    stopped    [{kind, what, count, trials}]
               kind: rung, guard, failed, budget, user, job, completed, going
    cost       {train_rows, forward_rows, select_seconds, train_seconds, eval_seconds, wall_seconds,
               price, redone_price, retries}
               rows: each (trial, pass) once; price: (train_rows + forward_rows / 3) / (epochs × N);
               wall_seconds: with a driver at work; redone_price: what lost segments did twice
    savings    {estimated: true, no_early_stopping: {…}, whole_epoch_rungs: {…}}, each
               {meaning, train_rows, forward_rows, price, times, seconds}
    evidence   [{lower, upper, lower_share, upper_share, pairs, tau, low, high, note}]
    confirmation  {trials, values [{trial, metric, share} | null], rung, reason, ahead} | null
               values: each finalist's best; ahead: better at a lower rung, named and not chosen
    selection  {strategy, fraction, subset_rows, artefact, hit, seconds, forward_rows, note}
    decisions  [{kind: "rung" | "guard" | "ended", trial, time, …}] in order of time

Numbers that are not finite are null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from automata_svc.results.ranks import rank_evidence
from automata_svc.results.savings import as_mapping, savings
from automata_svc.results.standing import driver_seconds, leader, price_of, share_of
from automata_svc.results.stops import kind_of, stops
from automata_svc.tuning.state import JobState, Trial


def result(state: JobState, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A job as this module's text documents it; `spec` is its file, asked for the name only."""
    metadata = (spec or {}).get("metadata") or {}
    found = {
        "job_id": state.plan.job,
        "name": metadata.get("name", ""),
        "state": state.state,
        "reason": state.move.reason,
        "metric": state.plan.metric,
        "mode": state.plan.mode,
        "best": best(state),
        "trials": [trial_row(state, trial) for trial in state.trials],
        "rungs": rung_rows(state),
        "stopped": [{**vars(stop), "count": stop.count} for stop in stops(state)],
        "cost": cost(state),
        "savings": as_mapping(savings(state)),
        "evidence": [asdict(line) for line in rank_evidence(state)],
        "confirmation": _confirmation(state),
        "selection": _selection(state),
        "decisions": decisions(state),
    }
    return {key: plain(value) for key, value in found.items()}


def best(state: JobState) -> dict[str, Any] | None:
    """The winner; before the confirmation has one, the best so far."""
    trial = leader(state)
    if trial is None:
        return None
    value = trial.last_value
    outcome = state.result
    return {
        "trial": trial.number,
        "params": dict(trial.params),
        "settings": dict(state.plan.fixed),
        "search_metric": value.metric if value is not None else None,
        "rung": trial.rung,
        "ranks": [
            {
                "rung": rung + 1,
                "rank": state.rungs[rung].position(trial.number) + 1,
                "of": len(state.rungs[rung]),
            }
            for rung in sorted(trial.values)
        ],
        "confirmed": (
            {"val": dict(outcome.val), "test": dict(outcome.test)} if outcome is not None else None
        ),
        "how": outcome.how if outcome is not None else "not confirmed",
        "share": outcome.share if outcome is not None else share_of(state, trial),
    }


def trial_row(state: JobState, trial: Trial) -> dict[str, Any]:
    """One trial, flat enough for a table."""
    value = trial.last_value
    return {
        "number": trial.number,
        "state": trial.state,
        "reason": trial.move.reason,
        "kind": kind_of(state, trial),
        "params": dict(trial.params),
        "origin": trial.origin,
        "rung": trial.rung,
        "share": share_of(state, trial),
        "metric": value.metric if value is not None else None,
        "loss": value.loss if value is not None else None,
        "price": price_of(state, trial),
        "passes": trial.passes,
        "segments": trial.segment,
        "retries": sum(lost.retry for lost in trial.losses),
        "values": [
            {
                "rung": rung + 1,
                "share": state.plan.rungs[rung].share,
                "metric": at.metric,
                "loss": at.loss,
            }
            for rung, at in sorted(trial.values.items())
        ],
    }


def by_rung(rows: list[dict[str, Any]], mode: str) -> list[dict[str, Any]]:
    """Trial rows as `automata trials` prints them: the highest rung first, then the best metric."""
    sign = -1.0 if mode == "max" else 1.0

    def key(row: dict[str, Any]) -> tuple[int, float, int]:
        metric = math.inf if row["metric"] is None else sign * row["metric"]
        return (-row["rung"], metric, row["number"])

    return sorted(rows, key=key)


def rung_rows(state: JobState) -> list[dict[str, Any]]:
    """How many came to each rung and went on."""
    found = []
    for index, (rung, ranking) in enumerate(zip(state.plan.rungs, state.rungs, strict=True)):
        top = ranking.best()
        found.append(
            {
                "rung": index + 1,
                "asked": rung.asked,
                "share": rung.share,
                "rows": rung.rows,
                "keep": rung.keep,
                "arrived": len(ranking),
                "went_on": len(_went_on(state, index)),
                "best": (
                    {"trial": top, "metric": ranking.values[top].metric}
                    if top is not None
                    else None
                ),
            }
        )
    return found


def cost(state: JobState) -> dict[str, Any]:
    """What the job took; selection stands apart from training."""
    spent, redone = state.cost, state.redone
    return {
        "train_rows": spent.train_rows,
        "forward_rows": spent.forward_rows,
        "select_seconds": spent.select_seconds,
        "train_seconds": spent.train_seconds,
        "eval_seconds": spent.eval_seconds,
        "wall_seconds": driver_seconds(state),
        "price": state.price,
        "redone_price": state.plan.price(redone.train_rows, redone.forward_rows),
        "retries": sum(lost.retry for trial in state.trials for lost in trial.losses),
    }


def decisions(state: JobState) -> list[dict[str, Any]]:
    """Every decision on a trial, with its reason, in order of time."""
    found: list[dict[str, Any]] = []
    for trial in state.trials:
        for decision in trial.decisions:
            body = {**vars(decision), "rung": decision.rung + 1}
            body["neighbours"] = [vars(other) for other in decision.neighbours]
            found.append({"kind": "rung", **body})
        if trial.guard is not None:
            found.append({"kind": "guard", **vars(trial.guard), "time": trial.move.since})
        elif trial.state in ("CANCELLED", "FAILED"):
            found.append(
                {
                    "kind": "ended",
                    "trial": trial.number,
                    "state": trial.state,
                    "reason": trial.move.reason,
                    "time": trial.move.since,
                }
            )
    return sorted(found, key=lambda one: (one["time"], one["trial"], one.get("rung", 0)))


def plain(value: Any) -> Any:
    """The value as JSON can hold it: lists for tuples, null for what is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def _went_on(state: JobState, rung: int) -> set[int]:
    """Trials that left a rung upwards; from the last one that is into the confirmation."""
    gone = set(state.promoted[rung])
    if state.confirm is not None and state.confirm.rung == rung:
        gone |= set(state.confirm.trials)
    return gone


def _confirmation(state: JobState) -> dict[str, Any] | None:
    if state.confirm is None:
        return None
    return {
        "trials": state.confirm.trials,
        "values": [_confirmed(state, state.trials[number]) for number in state.confirm.trials],
        "rung": state.confirm.rung + 1,
        "reason": state.confirm.reason,
        "ahead": state.confirm.ahead,
    }


def _confirmed(state: JobState, trial: Trial) -> dict[str, Any] | None:
    """The best that a finalist reached in its confirmation so far."""
    boundary = state.best_confirmed(trial)
    if boundary is None:
        return None
    return {
        "trial": trial.number,
        "metric": trial.confirm_values[boundary][state.plan.metric],
        "share": state.plan.confirm_table(trial.search_boundary).share_at(boundary),
    }


def _selection(state: JobState) -> dict[str, Any]:
    plan, ready = state.plan, state.subset
    return {
        "strategy": "external" if plan.is_external else plan.strategy,
        "fraction": plan.fraction,
        "subset_rows": plan.table.subset_rows,
        "artefact": ready.artefact if ready is not None else None,
        "hit": ready.hit if ready is not None else None,
        "seconds": state.cost.select_seconds,
        "forward_rows": ready.forward_rows if ready is not None else None,
        "note": ready.note if ready is not None else "",
    }
