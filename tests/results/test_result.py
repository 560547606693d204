from __future__ import annotations

import json

import pytest

from automata_svc.results import result as module
from automata_svc.results.result import by_rung, result
from automata_svc.tuning.events import decode
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.state import JobState
from tests.results.build import finished, stopped, troubled
from tests.tuning.build import make_plan, run_simulated

PROMISED = {
    "job_id": (), "state": (), "best": ("trial", "params", "search_metric", "confirmed"),
    "trials": (), "savings": ("no_early_stopping", "whole_epoch_rungs", "estimated"),
    "cost": ("train_rows", "forward_rows", "select_seconds", "train_seconds", "eval_seconds",
             "wall_seconds", "price"),
    "decisions": (),
}  # fmt: skip


def states() -> list[JobState]:
    return [finished(), finished(scheduler="asha"), troubled(), stopped(), JobState(make_plan())]


def test_the_promised_keys_are_there_and_every_key_is_documented() -> None:
    found = result(finished(), {"metadata": {"name": "letter-mlp"}})
    assert found["name"] == "letter-mlp"
    for key, inner in PROMISED.items():
        assert key in found and set(inner) <= set(found[key] if inner else ())
    assert all(key in (module.__doc__ or "") for key in found)
    assert all(key in (module.__doc__ or "") for row in found["trials"][:1] for key in row)
    assert all(key in (module.__doc__ or "") for key in found["cost"])


def test_every_job_gives_strict_json_whatever_became_of_it() -> None:
    for state in states():
        text = json.dumps(result(state), allow_nan=False)
        assert json.loads(text) == result(state)


def test_a_log_that_is_read_again_gives_the_same_result() -> None:
    log = MemoryLog()
    plan = make_plan(trials=27, keep=(9, 4, 2))
    engine = run_simulated(plan, log=log, slots=2)
    again = JobState(plan)
    for seq, at, kind, text in log.load():
        evolve(again, seq, at, decode(kind, text))
    assert result(again) == result(engine.state)


def test_the_winner_carries_its_confirmed_values_beside_the_searchs() -> None:
    state = finished()
    best = result(state)["best"]
    assert state.result is not None
    assert best["trial"] == state.result.trial
    assert best["confirmed"]["val"] == dict(state.result.val)
    assert "test_accuracy" in best["confirmed"]["test"]
    assert best["search_metric"] == state.rungs[-1].values[best["trial"]].metric
    assert best["search_metric"] != best["confirmed"]["val"]["val_accuracy"]


def test_prices_of_trials_add_up_to_the_jobs() -> None:
    found = result(finished())
    assert sum(row["price"] for row in found["trials"]) == pytest.approx(found["cost"]["price"])


def test_rungs_say_who_arrived_and_went_on() -> None:
    rungs = result(finished())["rungs"]
    assert [(one["arrived"], one["went_on"]) for one in rungs] == [(27, 9), (9, 4), (4, 2)]


def test_every_trial_has_a_reason_and_is_counted_once() -> None:
    for state in states():
        found = result(state)
        assert all(row["reason"] for row in found["trials"])
        counted = [trial for group in found["stopped"] for trial in group["trials"]]
        assert sorted(counted) == list(range(len(state.trials)))
        assert all(group["count"] == len(group["trials"]) for group in found["stopped"])


def test_reasons_are_told_apart_by_kind() -> None:
    kinds = {group["kind"] for group in result(troubled())["stopped"]}
    assert {"guard", "failed", "rung", "completed"} <= kinds
    assert {group["kind"] for group in result(stopped())["stopped"]} == {"user"}


def test_decisions_come_in_order_of_time_with_rungs_from_one() -> None:
    found = result(troubled())["decisions"]
    assert [one["time"] for one in found] == sorted(one["time"] for one in found)
    assert {one["kind"] for one in found} == {"rung", "guard", "ended"}
    assert min(one["rung"] for one in found if one["kind"] == "rung") == 1


def test_what_a_retry_did_again_is_counted_apart() -> None:
    assert result(troubled())["cost"]["retries"] == 1


def test_before_a_confirmation_the_best_so_far_says_it_is_not_confirmed() -> None:
    best = result(stopped())["best"]
    assert best["confirmed"] is None and best["how"] == "not confirmed" and best["rung"] == 1


def test_trials_are_listed_by_rung_and_then_metric() -> None:
    rows = by_rung(result(troubled())["trials"], "max")
    keys = [(row["rung"], -1 if row["metric"] is None else row["metric"]) for row in rows]
    assert keys == sorted(keys, reverse=True)
