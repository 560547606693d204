"""Verbs on a job over HTTP: each may be said twice, and what cannot be done says the state."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.api.served import JSON, Served
from tests.jobs.build import job_data


def act(served: Served, job: str, verb: str, **body: object):
    return served.client.post(f"/v1/jobs/{job}:{verb}", json=body or None)


def test_a_waiting_job_is_stopped_at_once_and_once(served):
    job = served.submit()
    first = act(served, job, "stop", reason="wrong data")
    again = act(served, job, "stop")
    assert first.json()["state"] == "CANCELLED"
    events = served.client.get(f"/v1/jobs/{job}/events").json()["events"]
    assert "wrong data" in [one["body"].get("reason") for one in events]
    assert (again.status_code, again.json()["seq"]) == (200, first.json()["seq"])


def test_a_job_is_paused_and_goes_back_into_its_queue(served):
    job = served.submit()
    assert act(served, job, "pause").json()["state"] == "PAUSED"
    assert act(served, job, "pause").status_code == 200
    assert act(served, job, "resume").json()["state"] == "QUEUED"
    assert act(served, job, "resume").status_code == 200
    assert served.run(job).state == "SUCCEEDED"


@pytest.mark.parametrize("verb", ["pause", "resume", "stop", "retry"])
def test_what_cannot_be_done_says_the_state(served, done, verb):
    answer = act(served, done, verb)
    assert answer.status_code == 409
    assert "SUCCEEDED" in answer.json()["detail"]


def test_a_clone_is_the_same_job_with_changes(served, done):
    answer = act(served, done, "clone", name="again", set=["search.seed=5"])
    assert answer.status_code == 201
    spec = served.client.get(f"{answer.headers['location']}/spec").json()
    before = served.client.get(f"/v1/jobs/{done}/spec").json()
    assert spec["metadata"]["name"] == "again"
    assert spec["spec"]["search"]["seed"] == 5
    before["spec"]["search"]["seed"] = 5
    assert spec["spec"] == before["spec"]


def test_a_clone_stays_in_its_project_and_is_made_once_for_a_key(served):
    alice = served.as_("jobs:write", project="alice")
    job = alice.post("/v1/jobs", content=json.dumps(job_data()), headers=JSON).json()["id"]
    made = [
        alice.post(f"/v1/jobs/{job}:clone", headers={"Idempotency-Key": "clone once"}).json()
        for _ in range(3)
    ]
    assert len({one["id"] for one in made}) == 1
    assert made[0]["project"] == "alice"


def test_what_was_cancelled_is_retried_as_one_new_job(served):
    job = served.submit()
    act(served, job, "stop")
    first, again = act(served, job, "retry"), act(served, job, "retry")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"] != job
    assert first.json()["state"] == "QUEUED"


def test_what_waits_is_retried_at_once(served):
    job = served.submit()
    served.world.service.database.set_controller_fields(job, not_before=4e9)
    answer = act(served, job, "retry")
    assert (answer.status_code, answer.json()["id"]) == (200, job)
    assert served.world.service.database.get_job(job).not_before is None


def test_a_verb_that_there_is_not_is_not_taken(served, done):
    assert act(served, done, "explode").status_code == 405
    assert served.client.post(f"/v1/jobs/{done}:stop", json={"why": "x"}).status_code == 422


def test_a_resume_that_follows_a_pause_at_once_is_not_lost(served):
    """The driver has seen neither: it leaves, and the job goes back into its queue."""
    job = served.submit(budget={"trials": 400}, scheduler={"type": "fifo", "max_share": 1.0})
    drive = threading.Thread(target=served.run, args=(job,))
    drive.start()
    while served.client.get(f"/v1/jobs/{job}").json()["state"] != "RUNNING":
        time.sleep(0.01)
    assert act(served, job, "pause").status_code == 200
    assert act(served, job, "resume").status_code == 200
    drive.join(30)
    verbs = [
        one["body"]["verb"]
        for one in served.client.get(f"/v1/jobs/{job}/events?limit=5000").json()["events"]
        if one["kind"] == "command"
    ]
    assert verbs == ["pause", "resume"]
    assert served.client.get(f"/v1/jobs/{job}").json()["state"] == "QUEUED"
    act(served, job, "stop")


def test_of_verbs_that_cross_none_is_left_lying(served):
    """Nobody drives these jobs: whoever finds one taken finds it by another verb, for a moment."""
    verbs = ("pause", "stop", "pause", "resume", "pause", "resume")
    with ThreadPoolExecutor(len(verbs)) as pool:
        for _ in range(5):
            job = served.submit()
            list(pool.map(partial(act, served, job), verbs))
            assert served.client.get(f"/v1/jobs/{job}").json()["state"] == "CANCELLED"
            assert served.world.service.database.waiting_commands(job) == []
