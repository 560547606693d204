"""Webhooks as the API shows them, from a job's file to a receiver that checks the signature."""

from __future__ import annotations

import time
from typing import Any

from automata_svc.jobs.signatures import verify
from automata_svc.jobs.webhooks import Sender, deliver_due
from tests.api.served import JSON, Served
from tests.jobs.build import job_text
from tests.jobs.receiver import receiving

SECRET = "whsec_of_the_tests_0123456789"


def test_what_a_job_asked_for_is_listed_until_it_is_delivered(served: Served) -> None:
    with receiving() as receiver:
        receiver.fails(503)
        notify = [{"webhook": receiver.url + "?key=secret", "events": ["cancelled"]}] * 2
        job = served.submit("tells", notify=notify)
        assert served.client.get("/v1/deliveries", params={"job": job}).json()["items"] == []
        served.client.post(f"/v1/jobs/{job}:stop", json={"reason": "wrong data"})
        answer = served.client.get("/v1/deliveries", params={"job": job})
        first, second = answer.json()["items"]
        assert {first["status"], second["status"]} == {"waiting"} and first["event"] == (
            "job.cancelled"
        )
        assert first["receiver"] == "127.0.0.1" and "secret" not in answer.text
        world = served.world
        sender = Sender(SECRET, world.hosted.webhooks)
        assert deliver_due(world.service.database, sender, time.time()) == 2
        items = served.client.get("/v1/deliveries", params={"job": "tells"}).json()["items"]
        assert sorted(one["status"] for one in items) == ["delivered", "waiting"]
        (failed,) = [one for one in items if one["status"] == "waiting"]
        assert failed["error"] == "answered 503" and failed["next_at"] > failed["created_at"]
        for got in receiver.got:
            assert verify(SECRET, got.headers, got.body) in {one["id"] for one in items}


def test_deliveries_come_in_pages(served: Served) -> None:
    with receiving() as receiver:
        notify = [{"webhook": f"{receiver.url}/{n}", "events": ["cancelled"]} for n in range(5)]
        job = served.submit("tells-many", notify=notify)
        served.client.post(f"/v1/jobs/{job}:stop")
        seen, token = [], None
        for _ in range(3):
            params = {"job": job, "page_size": 2, **({"page_token": token} if token else {})}
            page = served.client.get("/v1/deliveries", params=params).json()
            seen += [one["id"] for one in page["items"]]
            token = page["next_page_token"]
        assert len(seen) == len(set(seen)) == 5 and token is None


def test_what_was_given_up_is_sent_again_when_somebody_says_so(served: Served) -> None:
    with receiving() as receiver:
        receiver.fails(410)
        notify = [{"webhook": receiver.url, "events": ["cancelled"]}]
        job = served.submit("tells-again", notify=notify)
        other = served.submit("another")
        served.client.post(f"/v1/jobs/{job}:stop")
        world = served.world
        sender = Sender(SECRET, world.hosted.webhooks)

        def deliver() -> dict[str, Any]:
            deliver_due(world.service.database, sender, time.time())
            (one,) = served.client.get(f"/v1/jobs/{job}/deliveries").json()["items"]
            return one

        dead = deliver()
        assert (dead["status"], dead["attempts"], dead["next_at"]) == ("dead", 1, None)
        where = f"/deliveries/{dead['id']}:redeliver"
        assert served.client.post(f"/v1/jobs/{other}{where}").status_code == 404
        stranger = served.as_("jobs:write", project="elsewhere")
        assert stranger.post(f"/v1/jobs/{job}{where}").status_code == 404
        for _ in range(2):
            again = served.client.post(f"/v1/jobs/{job}{where}")
            assert (again.status_code, again.json()["status"]) == (200, "waiting")
            assert again.json()["attempts"] == 0
        assert deliver()["status"] == "delivered"
        assert len({verify(SECRET, got.headers, got.body) for got in receiver.got}) == 1
        refused = served.client.post(f"/v1/jobs/{job}{where}")
        assert refused.status_code == 409 and "has arrived" in refused.json()["detail"]


def test_another_projects_deliveries_are_not_there(served: Served) -> None:
    with receiving() as receiver:
        job = served.submit("tells", notify=[{"webhook": receiver.url, "events": ["cancelled"]}])
        served.client.post(f"/v1/jobs/{job}:stop")
        other = served.as_("jobs:read", project="elsewhere")
        assert other.get("/v1/deliveries").json()["items"] == []
        assert other.get("/v1/deliveries", params={"job": job}).status_code == 404
        assert other.get(f"/v1/jobs/{job}/deliveries").status_code == 404
        assert other.get("/v1/deliveries", params={"project": "default"}).status_code == 404


def test_a_receiver_behind_our_walls_is_refused_with_the_place_in_the_file(served: Served) -> None:
    notify = [{"webhook": "https://hooks.example.com/"}, {"webhook": "http://169.254.169.254/"}]
    answer = served.client.post("/v1/jobs", content=job_text(notify=notify), headers=JSON)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "spec.notify[1].webhook" and "link-local" in error["detail"]


def test_a_deleted_job_takes_its_deliveries_and_its_files_with_it(served: Served) -> None:
    with receiving() as receiver:
        job = served.submit("tells", notify=[{"webhook": receiver.url, "events": ["cancelled"]}])
        store = served.world.service.store
        store.put(f"checkpoints/{job}/0/1-s0.pt", b"weights")
        store.put(f"logs/{job}/driver/0", b"lines")
        assert served.client.delete(f"/v1/jobs/{job}").status_code == 409
        assert store.keys(f"checkpoints/{job}") != []
        served.client.post(f"/v1/jobs/{job}:stop")
        assert served.client.delete(f"/v1/jobs/{job}").status_code == 204
        assert served.client.get(f"/v1/jobs/{job}").status_code == 404
        assert store.keys(f"checkpoints/{job}") == store.keys(f"logs/{job}") == []
        assert served.client.get("/v1/deliveries", params={"job": job}).status_code == 404
