from __future__ import annotations

from dataclasses import replace

import pytest

from automata_svc.errors import NotFound
from automata_svc.results.text import explain, plain_text
from automata_svc.results.why import why
from tests.results.build import TRACEBACK, finished, stopped, troubled

SCHEDULERS = ("successive_halving", "asha", "asha_promote")


@pytest.mark.parametrize("slots", (1, 4))
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_rebuilt_table_gives_every_compared_trial_its_recorded_place(
    scheduler: str, slots: int
) -> None:
    state = finished(slots, scheduler=scheduler)
    compared = 0
    for trial in state.trials:
        answer = why(state, trial.number)
        if answer.cutoff is None:
            continue
        compared += 1
        decided = next(d for d in reversed(trial.decisions) if d.cutoff is not None)
        assert answer.agrees
        assert len(answer.table) == answer.size == decided.size
        assert [row.rank for row in answer.table] == list(range(1, answer.size + 1))
        own = next(row for row in answer.table if row.trial == trial.number)
        assert (own.rank, own.metric) == (decided.rank, decided.metric)
        assert own.above_cut == (decided.verdict in ("promote", "continue"))
    assert compared >= 9


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_competitors_recorded_with_a_decision_stand_in_the_rebuilt_table(scheduler: str) -> None:
    state = finished(3, scheduler=scheduler)
    for trial in state.trials:
        answer = why(state, trial.number)
        places = {row.trial: row.rank for row in answer.table}
        decided = [d for d in trial.decisions if d.cutoff is not None]
        if decided:
            assert all(places[one.trial] == one.rank for one in decided[-1].neighbours)
            assert len(answer.nearest) <= 5
            assert trial.number not in {one.trial for one in answer.nearest}


def test_a_recorded_rank_that_the_table_does_not_give_is_told_apart() -> None:
    state = finished()
    trial = next(trial for trial in state.trials if trial.state == "PRUNED")
    decided = trial.decisions[-1]
    assert decided.rank is not None
    trial.decisions[-1] = replace(decided, rank=decided.rank - 1)
    assert why(state, trial.number).agrees is False


def test_a_pruned_trial_is_told_its_rank_the_cut_and_what_happened_since() -> None:
    state = finished()
    loser = next(trial for trial in state.trials if trial.state == "PRUNED")
    answer = why(state, loser.number)
    assert f"rank {answer.rank} of 27" in answer.verdict and "best 9 went on" in answer.verdict
    assert any("winner" in said for said in answer.since)
    text = plain_text(explain(answer))
    assert "best 9 of 27 go on" in text and "→" in text and "cut" in text


def test_an_early_arrival_learns_how_many_came_after_it() -> None:
    state = finished(1, scheduler="asha")
    early = next(trial for trial in state.trials if trial.state == "PRUNED")
    assert any("more" in said and "reached rung" in said for said in why(state, early.number).since)


def test_the_winner_is_told_so() -> None:
    state = finished()
    assert state.result is not None
    assert "is the winner" in why(state, state.result.trial).verdict


def test_a_guard_is_named_with_what_it_saw() -> None:
    answer = why(troubled(), 0)
    assert answer.kind == "guard" and answer.guard is not None
    assert answer.guard["rule"] == "non_finite"
    assert "not finite" in plain_text(explain(answer))


def test_a_template_that_raises_shows_its_own_traceback() -> None:
    answer = why(troubled(), 1)
    assert answer.kind == "failed"
    text = plain_text(explain(answer))
    assert "ValueError: hidden must divide 64" in answer.verdict
    assert all(line.strip() in text for line in TRACEBACK.splitlines())


def test_a_lost_worker_is_told_even_where_the_trial_went_on() -> None:
    answer = why(troubled(), 2)
    assert answer.losses[0]["reason"] == "worker lost"
    assert answer.state != "FAILED"
    assert "tried again" in plain_text(explain(answer))


def test_a_value_that_is_no_number_is_the_reason_and_not_a_rank() -> None:
    answer = why(troubled(), 3)
    assert answer.kind == "rung" and answer.rank == answer.size
    assert "val_accuracy is nan" in answer.verdict


def test_a_trial_of_a_stopped_job_names_the_users_reason() -> None:
    answer = why(stopped(), 0)
    assert answer.kind == "user" and "wrong dataset" in answer.verdict


def test_a_number_that_is_no_trial_names_those_that_are() -> None:
    with pytest.raises(NotFound, match="0 to 26"):
        why(finished(), 27)


@pytest.mark.parametrize("width", (60, 80, 120))
def test_an_explanation_fits_its_width(width: int) -> None:
    state = finished()
    for trial in state.trials[:6]:
        for section in explain(why(state, trial.number), width):
            assert all(len(line) <= width for line in section.lines), section.title


def test_a_short_table_keeps_the_cut_and_the_trial_and_marks_gaps() -> None:
    state = finished()
    last = next(t for t in state.trials if t.decisions and t.decisions[-1].rank == 27)
    text = plain_text(explain(why(state, last.number), whole=False))
    assert "cut" in text and "…" in text and " 27 " in text
    assert len(text) < len(plain_text(explain(why(state, last.number))))
