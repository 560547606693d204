from __future__ import annotations

import pytest

from automata_svc.results import figures as fig
from automata_svc.results.result import result
from automata_svc.results.text import plain_text, report
from automata_svc.tuning.state import JobState
from tests.results.build import finished, stopped, troubled
from tests.tuning.build import make_plan


def text_of(state: JobState, width: int = 80) -> str:
    found = result(state, {"metadata": {"name": "letter-mlp"}})
    return plain_text(report(found, "/home/ada/.automata", width))


def test_the_report_says_everything_that_was_promised() -> None:
    state = finished()
    text = text_of(state)
    best = result(state)["best"]
    assert f"trial {best['trial']} of 27" in text
    assert fig.metric(best["confirmed"]["val"]["val_accuracy"]) in text
    assert fig.metric(best["confirmed"]["test"]["test_accuracy"]) in text
    assert f"{fig.metric(best['search_metric'])}  in the search" in text
    for words in (
        "full trainings", "estimated", "no early stopping", "rungs of whole epochs", "selection",
        "Why trials were stopped", "survivors only", "not measured", "/home/ada/.automata",
        "automata why job_test", "automata best job_test --save",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("width", (60, 80, 120))
@pytest.mark.parametrize("make", (finished, troubled, stopped), ids=lambda make: make.__name__)
def test_no_line_is_wider_than_the_terminal(make: object, width: int) -> None:
    assert callable(make)
    assert max(map(len, text_of(make(), width).splitlines())) <= width


def test_an_unconfirmed_value_of_a_whole_training_is_not_called_one_of_a_part() -> None:
    found = result(finished(), {"metadata": {"name": "letter-mlp"}})
    found["best"]["confirmed"] = found["confirmation"] = None
    assert "on a part of a training" in plain_text(report(found, "", 80))
    found["rungs"][found["best"]["rung"] - 1]["share"] = 1.0
    text = plain_text(report(found, "http://127.0.0.1:8070", 80))
    assert "of a whole training" in text and "server  http://127.0.0.1:8070" in text


def test_a_report_survives_a_terminal_without_unicode() -> None:
    for state in (finished(), troubled()):
        text_of(state).translate(fig.ASCII).encode("ascii")


def test_a_job_without_a_trial_still_has_a_report() -> None:
    text = text_of(JobState(make_plan()))
    assert "no trial has a usable value" in text and "automata resume" in text


def test_a_stopped_job_names_the_reason_and_offers_no_model() -> None:
    text = text_of(stopped())
    assert "wrong dataset" in text and "not confirmed" in text and "--save" not in text


def test_the_report_says_what_a_failed_trial_failed_with() -> None:
    text = " ".join(text_of(troubled()).split())
    assert "the template raised (trial 1): ValueError: hidden must divide 64" in text
    assert "no usable value (trial 3): val_accuracy is nan, not a finite number" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.31, "0.3 s"), (59.7, "1 min 0 s"), (74, "1 min 14 s"), (8100, "2 h 15 min")],
)
def test_seconds_read_like_a_clock(value: float, shown: str) -> None:
    assert fig.seconds(value) == shown


def test_a_job_that_did_not_reach_its_end_claims_no_savings() -> None:
    assert "estimated" not in text_of(stopped()) and "estimated" in text_of(finished())


def test_trials_that_reached_the_end_without_being_chosen_are_counted_too() -> None:
    text = text_of(finished(scheduler="asha_promote", price_limit=2.2))
    assert "not among the finalists" in text and "budget" in text


def test_finalists_are_shown_with_what_each_was_confirmed_at() -> None:
    state = finished()
    values = result(state)["confirmation"]["values"]
    assert len(values) == 2
    assert all(
        f"trial {one['trial']} ({fig.metric(one['metric'])})" in text_of(state) for one in values
    )
