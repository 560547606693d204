"""Trials over HTTP: every one once, in the order that was asked for, and why."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from automata_svc.results.result import by_rung, plain, trial_row
from automata_svc.results.why import why
from automata_svc.spec.wire.results import WhyTrial
from automata_svc.spec.wire.trials import Curves, Trial, TrialList
from tests.api.served import Served


def pages(served: Served, job: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params = {"page_size": 2, **params}
    while True:
        answer = served.client.get(f"/v1/jobs/{job}/trials", params=params).json()
        TrialList.model_validate(answer)
        found += answer["items"]
        if answer["next_page_token"] is None:
            return found
        params["page_token"] = answer["next_page_token"]


def test_pages_hold_what_the_log_says_of_every_trial(served, done):
    state = served.world.service.state(done)
    rows = plain([trial_row(state, trial) for trial in state.trials])
    assert pages(served, done) == rows
    assert pages(served, done, page_size=500) == rows
    assert pages(served, done, order="rank") == by_rung(rows, state.plan.mode)


def test_trials_are_filtered_by_state(served, done):
    state = served.world.service.state(done)
    pruned = [trial.number for trial in state.trials if trial.state == "PRUNED"]
    assert [row["number"] for row in pages(served, done, state="PRUNED")] == pruned
    ranked = pages(served, done, state="PRUNED", order="rank", page_size=1)
    assert sorted(row["number"] for row in ranked) == pruned


def test_one_trial_is_shown_alone(served, done):
    row = served.client.get(f"/v1/jobs/{done}/trials/3").json()
    assert Trial.model_validate(row).number == 3
    assert row == pages(served, done)[3]


def test_a_trial_is_explained_as_the_command_line_explains_it(served, done):
    state = served.world.service.state(done)
    for trial in state.trials:
        answer = served.client.get(f"/v1/jobs/{done}/trials/{trial.number}/why").json()
        found = WhyTrial.model_validate(answer)
        assert found.verdict == why(state, trial.number).verdict
        assert answer == plain({**vars(why(state, trial.number)), **nested(answer)})


def nested(answer: dict[str, Any]) -> dict[str, Any]:
    """The parts that are dataclasses on one side and mappings on the other."""
    return {key: answer[key] for key in ("table", "nearest", "path", "losses", "guard")}


def test_curves_hold_every_report(served, done):
    state = served.world.service.state(done)
    trial = state.trials[state.result.trial]
    found = Curves.model_validate(
        served.client.get(f"/v1/jobs/{done}/trials/{trial.number}/metrics").json()
    )
    loss, accuracy = found.curves["loss"], found.curves["val_accuracy"]
    assert loss.points == len(loss.share) == trial.passes
    assert list(loss.share) == sorted(loss.share)
    assert loss.share[-1] == 1.0
    searched = [value.metric for _, value in sorted(trial.values.items())]
    assert list(accuracy.value[: len(searched)]) == searched


def test_curves_are_thinned_and_chosen_by_name(served, done):
    url = f"/v1/jobs/{done}/trials/0/metrics"
    whole = served.client.get(url, params={"names": ["loss"]}).json()["curves"]
    thin = served.client.get(url, params={"names": "loss", "max_points": 3}).json()["curves"]
    assert list(whole) == list(thin) == ["loss"]
    assert len(thin["loss"]["share"]) == min(3, whole["loss"]["points"])
    assert thin["loss"]["points"] == whole["loss"]["points"]
    assert served.client.get(url, params={"names": "nonsense"}).json()["curves"] == {}


@pytest.mark.parametrize("path", ["trials/99", "trials/99/why", "trials/99/metrics"])
def test_a_trial_that_there_is_not_is_not_found(served, done, path):
    answer = served.client.get(f"/v1/jobs/{done}/{path}")
    assert answer.status_code == 404
    assert "99" in answer.json()["detail"]


def test_a_job_that_has_not_begun_has_no_trials_and_a_report(served):
    job = served.submit()
    assert pages(served, job) == []
    assert served.client.get(f"/v1/jobs/{job}/result").json()["trials"] == []


def test_the_winner_is_taken_away_in_a_zip(served, done, tmp_path):
    import io
    import zipfile

    answer = served.client.get(f"/v1/jobs/{done}/best")
    assert answer.headers["content-type"] == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert names == ["dataset.json", "example.py", "model.pt", "params.json", "tabular_mlp.py"]


def test_those_who_wait_for_a_winner_keep_nobody_else_waiting(served, done, monkeypatch):
    monkeypatch.setattr("automata_svc.jobs.winner_zip.WAIT_S", 15.0)
    answers: list[int] = []

    def ask() -> None:
        answers.append(served.client.get(f"/v1/jobs/{done}/best", timeout=50).status_code)

    many = [threading.Thread(target=ask) for _ in range(60)]  # more than a server has threads
    for one in many:
        one.start()
    time.sleep(1.0)  # until they are all there
    assert served.client.get("/readyz", timeout=10).status_code == 200
    for one in many:
        one.join()
    assert set(answers) <= {200, 503} and 200 in answers


def test_a_job_without_a_winner_says_so(served):
    answer = served.client.get(f"/v1/jobs/{served.submit()}/best")
    assert answer.status_code == 409
    assert "QUEUED" in answer.json()["detail"]
