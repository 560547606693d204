"""Jobs over HTTP: taken once, listed page by page, changed by whoever knows them."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
import yaml

from automata_svc.spec.wire.jobs import Job, JobList, Plan
from tests.api.served import JSON, YAML, Served
from tests.jobs.build import job_data, job_text, trial


def post(served: Served, body: Any = None, **more: Any) -> httpx.Response:
    headers = {**JSON, **more.pop("headers", {})}
    text = body if body is not None else job_text()
    return served.client.post("/v1/jobs", content=text, headers=headers, **more)


# ---- submitting ---------------------------------------------------------------------------------


def test_a_job_is_stored_and_says_where_it_is(served):
    answer = post(served)
    job = Job.model_validate(answer.json())
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"
    assert (job.state, job.driver, job.reason) == ("QUEUED", "service", "submitted")
    assert abs(job.created_at - time.time()) < 60
    again = served.client.get(answer.headers["location"])
    assert again.json() == answer.json()
    assert again.headers["etag"] == answer.headers["etag"]


def test_yaml_and_json_make_the_same_job(served):
    text = yaml.safe_dump(job_data())
    one = served.client.post("/v1/jobs", content=text, headers=YAML).json()
    other = post(served).json()
    specs = [served.client.get(f"/v1/jobs/{job['id']}/spec").json() for job in (one, other)]
    assert specs[0] == specs[1]


def test_what_a_job_says_of_queue_priority_and_labels_is_shown(served):
    data = job_data(queue="research", priority=80)
    data["metadata"]["labels"] = {"team": "läng", "n": "1"}
    job = post(served, json.dumps(data)).json()
    assert (job["queue"], job["priority"]) == ("research", 80)
    assert job["labels"] == {"team": "läng", "n": "1"}


def test_every_mistake_comes_back_at_once_with_its_pointer(served):
    answer = post(served, job_text(subset={"fraction": 7}, budget={"trials": 0}))
    assert answer.status_code == 422
    pointers = {one["pointer"] for one in answer.json()["errors"]}
    assert pointers == {"spec.subset.fraction", "spec.budget.trials"}


def test_files_on_the_servers_disk_cannot_be_named(served, tmp_path):
    trial = {
        "template": str(tmp_path / "t.py"),
        "dataset": {"path": "/etc/passwd.csv"},
        "code": "./folder",
    }
    answer = post(served, job_text(trial=trial))
    assert answer.status_code == 422
    assert {one["pointer"] for one in answer.json()["errors"]} == {
        "spec.trial.template", "spec.trial.dataset", "spec.trial.code",
    }  # fmt: skip


def test_overrides_change_a_job_before_it_is_checked(served):
    answer = post(served, params={"set": ["budget.trials=3", "metadata.name=three"]})
    assert answer.json()["name"] == "three"
    assert answer.json()["trials"]["planned"] == 3
    wrong = post(served, params={"set": "budgt.trials=3"})
    assert "--set budgt.trials=3" in wrong.json()["detail"]


def test_validate_only_answers_the_plan_and_stores_nothing(served):
    before = count(served)
    answer = post(served, params={"validate_only": True})
    plan = Plan.model_validate(answer.json())
    assert answer.status_code == 200
    assert plan.price == pytest.approx(plan.price_search + plan.price_confirm)
    assert [rung.trials for rung in plan.rungs] == [6, 3, 2]
    assert count(served) == before


def count(served: Served) -> int:
    return len(served.client.get("/v1/jobs", params={"page_size": 500}).json()["items"])


# ---- once ---------------------------------------------------------------------------------------


def test_a_key_makes_one_job_however_often_it_is_sent(served):
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda _: post(served, headers={"Idempotency-Key": "a hundred times"}), range(100)
            )
        )
    assert {one.status_code for one in answers} == {201}
    assert len({one.json()["id"] for one in answers}) == 1
    replayed = [one.headers.get("idempotency-replayed") for one in answers]
    assert replayed.count(None) == 1
    assert replayed.count("true") == 99


def test_a_key_that_has_just_expired_makes_one_new_job(served):
    key = {"Idempotency-Key": "good for a day"}
    old = post(served, headers=key).json()["id"]
    assert post(served, headers=key).json()["id"] == old
    path = served.world.service.database._engine.url.database
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE submission_keys SET expires_at = expires_at - 86400")
    # The same or something else: with an old key both are new.
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(served, job_text("b"), headers=key), range(100)))
    assert {one.status_code for one in answers} == {201}
    (new,) = {one.json()["id"] for one in answers}
    assert new != old
    assert served.client.get(f"/v1/jobs/{old}").json()["name"] != "b"


def test_a_key_of_something_else_is_refused(served):
    first = post(served, headers={"Idempotency-Key": "key-1"})
    other = post(served, job_text("other"), headers={"Idempotency-Key": "key-1"})
    assert (first.status_code, other.status_code) == (201, 422)
    assert other.json()["type"].endswith(":key-reused")


def test_a_key_belongs_to_a_project(served):
    alice = served.as_("jobs:write", project="alice").post(
        "/v1/jobs", content=job_text(), headers={**JSON, "Idempotency-Key": "same"}
    )
    bob = served.as_("jobs:write", project="bob").post(
        "/v1/jobs", content=job_text(), headers={**JSON, "Idempotency-Key": "same"}
    )
    assert (alice.status_code, bob.status_code) == (201, 201)
    assert alice.json()["id"] != bob.json()["id"]


# ---- projects -----------------------------------------------------------------------------------


def test_a_bound_token_puts_jobs_into_its_project_and_nowhere_else(served):
    alice = served.as_("jobs:read", "jobs:write", project="alice")
    assert alice.post("/v1/jobs", content=job_text(), headers=JSON).json()["project"] == "alice"
    data = job_data()
    data["metadata"]["project"] = "bob"
    assert alice.post("/v1/jobs", content=json.dumps(data), headers=JSON).status_code == 403
    answer = alice.post("/v1/jobs?project=bob", content=job_text(), headers=JSON)
    assert answer.status_code == 403


def test_packages_are_code_and_named_by_those_who_may_push_it(served):
    text = job_text(trial=trial(runtime_env={"pip": ["timm==1.0.9"]}))
    writer = served.as_("jobs:write", project="packed")
    for where in ("/v1/jobs", "/v1/jobs?validate_only=true"):
        refused = writer.post(where, content=text, headers=JSON)
        assert refused.status_code == 403
        assert "'code:push'" in refused.json()["detail"]
    pusher = served.as_("jobs:write", "code:push", project="packed")
    made = pusher.post("/v1/jobs", content=text, headers=JSON)
    assert made.status_code == 201
    # What stands in a job already has been vouched for; nothing is added to it.
    where = f"/v1/jobs/{made.json()['id']}:clone"
    assert writer.post(where, json={}).status_code == 201
    more = {"set": ["spec.trial.runtime_env.pip=[timm==1.0.9, other]"]}
    assert writer.post(where, json=more).status_code == 403


def test_two_projects_in_one_request_are_a_mistake(served):
    data = job_data()
    data["metadata"]["project"] = "one"
    answer = post(served, json.dumps(data), params={"project": "two"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "metadata.project"


def test_another_projects_jobs_are_not_there(served):
    secret = served.as_("jobs:write", project="hidden").post(
        "/v1/jobs", content=job_text("nobody-knows"), headers=JSON
    ).json()["id"]  # fmt: skip
    other = served.as_("jobs:read", project="alice")
    for ref in (secret, secret[:-3], "nobody-knows"):
        answer = other.get(f"/v1/jobs/{ref}")
        assert answer.status_code == 404
        assert "nobody-knows" not in answer.text.replace(f"'{ref}'", "").replace(ref, "")
    assert secret not in other.get("/v1/jobs").text
    assert other.get("/v1/jobs", params={"project": "hidden"}).status_code == 404


# ---- lists --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(served: Served) -> list[str]:
    """Seven jobs of a project, the newest first."""
    client = served.as_("jobs:write", project="shelf")
    made = []
    for index in range(7):
        data = job_data(f"job-{index % 3}")
        data["metadata"]["labels"] = {"parity": str(index % 2)}
        made.append(client.post("/v1/jobs", content=json.dumps(data), headers=JSON).json()["id"])
    return made[::-1]


def pages(served: Served, **params: Any) -> list[list[str]]:
    found: list[list[str]] = []
    params = {"project": "shelf", "page_size": 2, **params}
    while True:
        answer = JobList.model_validate(served.client.get("/v1/jobs", params=params).json())
        found.append([job.id for job in answer.items])
        if answer.next_page_token is None:
            return found
        params["page_token"] = answer.next_page_token


def test_pages_hold_every_job_once_newest_first(served, shelf):
    found = pages(served)
    assert [len(page) for page in found] == [2, 2, 2, 1]
    assert sum(found, []) == shelf


def test_a_job_that_comes_in_between_moves_nothing(served, shelf):
    first = served.client.get("/v1/jobs", params={"project": "shelf", "page_size": 3}).json()
    late = served.as_("jobs:write", project="shelf").post(
        "/v1/jobs", content=job_text("late"), headers=JSON
    ).json()["id"]  # fmt: skip
    rest = served.client.get(
        "/v1/jobs",
        params={"project": "shelf", "page_size": 500, "page_token": first["next_page_token"]},
    ).json()
    ids = [job["id"] for job in first["items"] + rest["items"]]
    served.client.post(f"/v1/jobs/{late}:stop")
    served.client.delete(f"/v1/jobs/{late}")
    assert [one for one in ids if one in shelf] == shelf
    assert late not in ids


def test_lists_are_filtered_by_name_label_and_state(served, shelf):
    named = sum(pages(served, name="job-1"), [])
    assert named == [shelf[6 - i] for i in (4, 1)]
    odd = sum(pages(served, label="parity=1"), [])
    assert odd == [shelf[6 - i] for i in (5, 3, 1)]
    assert sum(pages(served, state=["RUNNING", "FAILED"]), []) == []
    assert sum(pages(served, state=["QUEUED", "RUNNING"]), []) == shelf


def test_a_page_token_is_good_for_its_own_list_only(served, shelf):
    token = served.client.get("/v1/jobs", params={"project": "shelf", "page_size": 2}).json()[
        "next_page_token"
    ]
    for params in (
        {"project": "shelf", "name": "job-1", "page_token": token},
        {"project": "shelf", "page_token": token[:-2] + ("AA" if token[-2:] != "AA" else "BB")},
        {"project": "shelf", "page_token": "ünsinn"},
        {"project": "shelf", "page_token": ""},
    ):
        answer = served.client.get("/v1/jobs", params=params)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "query.page_token"


# ---- one job ------------------------------------------------------------------------------------


def test_a_job_is_found_by_id_prefix_and_name(served):
    job = served.submit("found-by-name")
    newest = served.submit("found-by-name")
    assert served.client.get(f"/v1/jobs/{newest}").json()["id"] == newest
    assert served.client.get("/v1/jobs/found-by-name").json()["id"] == newest
    assert served.client.get(f"/v1/jobs/{job}").json()["id"] == job
    assert served.client.get("/v1/jobs/job_0").status_code == 422  # fits many
    missing = served.client.get("/v1/jobs/found-by-nam")
    assert missing.status_code == 404
    assert "found-by-name" in missing.json()["detail"]


def test_what_a_job_is_made_of_is_shown(served, done):
    spec = served.client.get(f"/v1/jobs/{done}/spec").json()
    plan = served.client.get(f"/v1/jobs/{done}/plan").json()
    template = served.client.get(f"/v1/jobs/{done}/template").json()
    assert spec["metadata"]["name"] == "looked-at"
    assert plan["trials"] == 6
    assert template["name"] == "tabular_mlp"
    assert "def train(" in template["text"]


def test_the_report_is_what_the_command_line_prints(served, done):
    from automata_svc.results.result import result

    answer = served.client.get(f"/v1/jobs/{done}/result")
    service = served.world.service
    assert answer.json() == json.loads(json.dumps(result(service.state(done), service.spec(done))))


def test_a_finished_job_shows_its_best_and_when_it_ended(served, done):
    job = Job.model_validate(served.client.get(f"/v1/jobs/{done}").json())
    assert job.state == "SUCCEEDED"
    assert job.best is not None and job.best.test is not None
    assert job.ended_at is not None and job.ended_at >= job.created_at
    assert job.trials.proposed == 6


# ---- changing -----------------------------------------------------------------------------------


def change(served: Served, job: str, etag: str | None, **values: Any) -> httpx.Response:
    headers = {} if etag is None else {"If-Match": etag}
    return served.client.patch(f"/v1/jobs/{job}", json=values, headers=headers)


def test_a_change_needs_to_say_what_it_is_based_on(served):
    job = served.submit()
    assert change(served, job, None, priority=1).status_code == 428
    etag = served.client.get(f"/v1/jobs/{job}").headers["etag"]
    assert change(served, job, etag, priority=1).status_code == 200
    assert change(served, job, etag, priority=2).status_code == 412
    assert change(served, job, f'"zz", {etag}', priority=2).status_code == 412
    refused = change(served, job, '"nonsense"', priority=2)
    assert refused.status_code == 412
    assert refused.json()["detail"].startswith(f"{job} is at revision 2, and the change is not")
    now = served.client.get(f"/v1/jobs/{job}").headers["etag"]
    assert change(served, job, f"{now}, {etag}", priority=2).status_code == 200  # one that is good
    assert change(served, job, "*", priority=3).json()["priority"] == 3


def test_of_many_who_change_the_same_one_wins(served):
    job = served.submit()
    etag = served.client.get(f"/v1/jobs/{job}").headers["etag"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: change(served, job, etag, priority=n), range(1, 9)))
    won = [one for one in answers if one.status_code == 200]
    assert len(won) == 1
    assert {one.status_code for one in answers} == {200, 412}
    assert served.client.get(f"/v1/jobs/{job}").json()["priority"] == won[0].json()["priority"]


def test_changes_that_are_based_on_any_revision_are_all_taken(served):
    job = served.submit()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: change(served, job, "*", labels={f"k{n}": "v"}), range(40))
        )
    assert {one.status_code for one in answers} == {200}
    assert len(served.client.get(f"/v1/jobs/{job}").json()["labels"]) == 40


def test_what_is_null_becomes_what_a_file_has_that_does_not_say_it(served):
    unsaid = served.client.get(f"/v1/jobs/{(plain := served.submit())}").json()
    spec = served.client.get(f"/v1/jobs/{plain}/spec").json()["spec"]
    job = served.submit(
        priority=7, queue="slow", retention={"job": "1d"}, notify=[{"webhook": "https://a.example"}]
    )
    assert change(served, job, "*", labels={"a": "b"}).status_code == 200
    nothing = dict.fromkeys(("priority", "queue", "labels", "notify", "retention"))
    changed = change(served, job, "*", **nothing).json()
    assert [changed[key] for key in ("priority", "queue", "labels")] == [
        unsaid[key] for key in ("priority", "queue", "labels")
    ]
    now = served.client.get(f"/v1/jobs/{job}/spec").json()["spec"]
    assert (now["notify"], now["retention"]) == (spec["notify"], spec["retention"])


def test_labels_are_merged_and_null_removes_one(served):
    job = served.submit()
    change(served, job, "*", labels={"a": "1", "b": "2"})
    assert change(served, job, "*", labels={"b": None, "c": "ü"}).json()["labels"] == {
        "a": "1",
        "c": "ü",
    }


@pytest.mark.parametrize(
    "labels", [{"k" * 64: "v"}, {"": "v"}, {"k": "v" * 64}, {f"k{n}": "v" for n in range(65)}]
)
def test_labels_that_are_too_long_or_too_many_are_not_taken(served, labels):
    job = served.submit()
    refused = change(served, job, "*", labels=labels)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("labels")


def test_a_job_does_not_get_more_labels_little_by_little(served):
    job = served.submit()
    assert change(served, job, "*", labels={f"a{n}": "v" for n in range(64)}).status_code == 200
    refused = change(served, job, "*", labels={"b": "v"})
    (problem,) = refused.json()["errors"]
    assert problem["pointer"] == "labels"
    assert problem["detail"] == "65 labels; a job has at most 64"
    assert change(served, job, "*", labels={"a0": None, "b": "v"}).status_code == 200


@pytest.mark.parametrize(
    "values",
    [{"priority": 101}, {"priority": "high"}, {"state": "RUNNING"}, {"queue": "Not A Name"},
     {"labels": {"a": 1}}],
)  # fmt: skip
def test_nothing_else_is_changed(served, values):
    job = served.submit()
    answer = served.client.patch(f"/v1/jobs/{job}", json=values, headers={"If-Match": "*"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(next(iter(values)))


def test_receivers_and_retention_are_changed_where_the_job_is_told_of(served):
    job = served.submit(retention={"checkpoints": "2d", "job": "30d"})
    changed = change(
        served, job, "*",
        notify=[{"webhook": "https://example.com/hook", "events": ["failed"]}],
        retention={"checkpoints": "1h"},
    )  # fmt: skip
    assert changed.status_code == 200, changed.text
    spec = served.client.get(f"/v1/jobs/{job}/spec").json()["spec"]
    assert spec["notify"] == [{"events": ["failed"], "webhook": "https://example.com/hook"}]
    assert spec["retention"] == {"checkpoints": 3600.0, "keep_best": True, "job": 30 * 86_400.0}
    refused = change(served, job, "*", notify=[{"webhook": "http://169.254.169.254/latest"}])
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "spec.notify[0].webhook"
    assert change(served, job, "*", retention={"checkpoints": None}).status_code == 200
    spec = served.client.get(f"/v1/jobs/{job}/spec").json()["spec"]
    assert spec["retention"]["checkpoints"] is None  # for ever


def test_only_labels_of_a_finished_job_can_be_changed(served):
    job = served.submit()
    served.client.post(f"/v1/jobs/{job}:stop")
    assert change(served, job, "*", priority=1).status_code == 409
    assert change(served, job, "*", labels={"kept": "yes"}).json()["labels"] == {"kept": "yes"}


def test_a_job_is_deleted_once_it_is_over(served):
    job = served.submit("goes")
    assert served.client.delete(f"/v1/jobs/{job}").status_code == 409
    served.client.post(f"/v1/jobs/{job}:stop")
    gone = served.client.delete(f"/v1/jobs/{job}")
    assert (gone.status_code, gone.content) == (204, b"")
    for path in ("", "/events", "/trials", "/result", "/spec"):
        assert served.client.get(f"/v1/jobs/{job}{path}").status_code == 404
    assert served.client.delete(f"/v1/jobs/{job}").status_code == 404
