"""Ask and tell over a real server: clients, scopes, waiting, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from automata_svc.api.app import make_app
from automata_svc.api.limits import Limits
from automata_svc.api.world import ServiceWorld
from automata_svc.settings import Settings
from tests.api.running import running
from tests.jobs.clients import job_data, values


def world_in(settings: Settings) -> ServiceWorld:
    return ServiceWorld.of(settings, Limits(rate_per_s=10_000, burst=10_000))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"AUTOMATA_HOME": str(tmp_path_factory.mktemp("asks"))})


@pytest.fixture(scope="module")
def world(settings: Settings) -> Iterator[ServiceWorld]:
    one = world_in(settings)
    yield one
    one.service.database.close()


@pytest.fixture(scope="module")
def url(world: ServiceWorld) -> Iterator[str]:
    with running(make_app(world)) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str, world: ServiceWorld) -> Iterator[httpx.Client]:
    secret = world.tokens.create("all", ["admin"]).secret
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=40
    ) as one:
        yield one


@pytest.fixture
def job(http: httpx.Client) -> str:
    return submit(http)


def submit(http: httpx.Client, **spec: Any) -> str:
    answer = http.post("/v1/jobs", json=job_data(**spec))
    assert answer.status_code == 201, answer.text
    assert answer.json()["driver"] == "external"
    return str(answer.json()["id"])


def ask(http: httpx.Client, job: str, client: str = "gpu-1", **more: Any) -> dict[str, Any]:
    answer = http.post(f"/v1/jobs/{job}/trials:ask", json={"client_id": client, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def tell(
    http: httpx.Client, job: str, order: dict[str, Any], share: float, /, **more: Any
) -> httpx.Response:
    said = {
        "client_id": "gpu-1", "segment": order["segment"], "share": share,
        "values": values(order["params"], share), "checkpoint": "x",
    } | more  # fmt: skip
    return http.post(f"/v1/jobs/{job}/trials/{order['trial']}:tell", json=said)


def work(http: httpx.Client, job: str, name: str) -> str:
    """One client, to the end of the job."""
    while True:
        found = ask(http, job, name, wait_s=5)
        if found["done"]:
            return str(found["done"])
        for order in found["trials"]:
            until = order["until_share"]
            while until is not None:
                reply = tell(http, job, order, until, client_id=name)
                assert reply.status_code == 200, reply.text
                until = reply.json()["until_share"]


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    return body


def test_three_clients_train_a_job_to_its_end(http: httpx.Client) -> None:
    job = submit(http, budget={"trials": 9})
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda name: work(http, job, name), ["a", "b", "c"]))
    assert ended == ["SUCCEEDED"] * 3
    shown = http.get(f"/v1/jobs/{job}").json()
    assert shown["state"] == "SUCCEEDED" and shown["best"]["rung"] == 3
    assert shown["trials"] == {"planned": 9, "proposed": 9, "running": 0}
    result = http.get(f"/v1/jobs/{job}/result").json()
    assert result["selection"]["strategy"] == "external"
    trials = http.get(f"/v1/jobs/{job}/trials?order=rank").json()["items"]
    assert trials[0]["number"] == shown["best"]["trial"]


def test_the_second_server_of_a_job_goes_on_where_the_first_was(
    http: httpx.Client, job: str, settings: Settings
) -> None:
    (order,) = ask(http, job)["trials"]
    other = world_in(settings)
    with running(make_app(other)) as address:
        headers = dict(http.headers)
        with httpx.Client(base_url=address, headers=headers, timeout=40) as second:
            assert ask(second, job)["trials"] == [order]
            assert tell(second, job, order, 0.02).json()["decision"] == "wait"
            assert tell(http, job, order, 0.02).json()["decision"] == "wait"
            with ThreadPoolExecutor(2) as pool:
                ends = pool.map(lambda one: work(one[0], job, one[1]), [(http, "a"), (second, "b")])
                assert list(ends) == ["SUCCEEDED", "SUCCEEDED"]
    other.service.database.close()


def test_what_is_not_the_clients_own_is_a_problem(http: httpx.Client, job: str) -> None:
    (order,) = ask(http, job)["trials"]
    found = problem(tell(http, job, order, 0.02, client_id="gpu-2"), 409)
    assert "is client gpu-1's" in found["detail"]
    problem(tell(http, job, order | {"trial": 7}, 0.02), 404)
    problem(tell(http, job, order | {"segment": 7}, 0.02), 404)


def test_other_values_for_the_same_share_are_a_conflict(http: httpx.Client, job: str) -> None:
    (order,) = ask(http, job)["trials"]
    first = tell(http, job, order, 0.01)
    assert tell(http, job, order, 0.01).json() == first.json()
    found = problem(tell(http, job, order, 0.01, values={"accuracy": 0.0}), 409)
    assert "was told of at share 0.01 already" in found["detail"]


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"share": 0.5}, "share"),
        ({"values": {"loss": 1.0}}, "values"),
        ({"share": 2}, "share"),
        ({"shares": 1}, "shares"),
        ({"values": {"accuracy": "good"}}, "values.accuracy"),
        ({"client_id": ""}, "client_id"),
    ],
)
def test_a_report_that_cannot_be_taken_is_a_mistake_with_its_pointer(
    http: httpx.Client, job: str, said: dict[str, Any], pointer: str
) -> None:
    (order,) = ask(http, job)["trials"]
    found = problem(tell(http, job, order, 0.02, **said), 422)
    assert found["errors"][0]["pointer"] == pointer


def test_what_is_not_finite_travels_as_text(http: httpx.Client, job: str) -> None:
    (order,) = ask(http, job)["trials"]
    raw = b'{"client_id": "gpu-1", "segment": 0, "share": 0.02, "values": {"accuracy": NaN}}'
    headers = {"Content-Type": "application/json"}
    problem(http.post(f"/v1/jobs/{job}/trials/0:tell", content=raw, headers=headers), 422)
    reply = tell(http, job, order, 0.02, values={"accuracy": "nan"}).json()
    assert reply["decision"] == "stop" and "not a finite number" in reply["reason"]


def test_a_token_needs_the_scope_and_sees_its_own_project_only(
    url: str, http: httpx.Client, world: ServiceWorld, job: str
) -> None:
    def asked(*scopes: str, project: str | None = None) -> httpx.Response:
        secret = world.tokens.create("t", list(scopes), project=project).secret
        return httpx.post(
            f"{url}/v1/jobs/{job}/trials:ask",
            json={"client_id": "gpu-1"},
            headers={"Authorization": f"Bearer {secret}"},
        )

    assert "trials:tell" in problem(asked("jobs:read", "jobs:write"), 403)["detail"]
    problem(asked("trials:tell", project="others"), 404)
    assert asked("trials:tell", project="default").status_code == 200
    problem(httpx.post(f"{url}/v1/jobs/{job}/trials:ask", json={"client_id": "a"}), 401)


def test_a_waiting_ask_is_answered_as_soon_as_there_is_something(http: httpx.Client) -> None:
    job = submit(http, parallelism=1)
    (order,) = ask(http, job)["trials"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, http, job, "gpu-2", wait_s=25)
        time.sleep(0.3)
        assert not waiting.done()
        tell(http, job, order, 0.02)
        (other,) = waiting.result(timeout=20)["trials"]
    assert other["trial"] == 1


def test_an_ask_that_waits_in_vain_says_for_what(http: httpx.Client) -> None:
    job = submit(http, parallelism=1)
    ask(http, job)
    found = ask(http, job, "gpu-2", wait_s=0.2)
    assert (found["trials"], found["done"]) == ([], None)
    assert found["wait"] > 0 and "parallelism" in found["reason"]


def test_who_hangs_up_while_waiting_is_given_nothing(http: httpx.Client) -> None:
    job = submit(http, parallelism=1)
    (order,) = ask(http, job)["trials"]
    with pytest.raises(httpx.ReadTimeout):
        http.post(
            f"/v1/jobs/{job}/trials:ask", json={"client_id": "gone", "wait_s": 25}, timeout=0.3
        )
    time.sleep(0.8)
    tell(http, job, order, 0.02)
    assert [one["trial"] for one in ask(http, job, "gpu-3", wait_s=5)["trials"]] == [1]


def test_pause_resume_and_stop_reach_the_clients(http: httpx.Client, job: str) -> None:
    (order,) = ask(http, job)["trials"]
    paused = http.post(f"/v1/jobs/{job}:pause", json={"reason": "tea"})
    assert paused.json()["state"] == "PAUSED"
    assert "tea" in ask(http, job)["reason"]
    reply = tell(http, job, order, 0.01).json()
    assert reply["decision"] == "wait" and "paused" in reply["reason"]
    assert http.post(f"/v1/jobs/{job}:resume").status_code == 200
    (again,) = ask(http, job)["trials"]
    assert (again["trial"], again["segment"], again["share"]) == (0, 0, 0.01)
    assert http.post(f"/v1/jobs/{job}:stop").json()["state"] == "CANCELLED"
    assert ask(http, job)["done"] == "CANCELLED"
    assert tell(http, job, order, 0.02).json()["decision"] == "stop"


def test_many_that_wait_leave_room_for_others(http: httpx.Client) -> None:
    """A waiting ask holds no thread: with more of them than threads, a report comes through."""
    job = submit(http, parallelism=1)
    (order,) = ask(http, job)["trials"]
    answers: list[dict[str, Any]] = []
    limits = httpx.Limits(max_connections=100)
    with httpx.Client(
        base_url=http.base_url, headers=dict(http.headers), timeout=40, limits=limits
    ) as wide:
        threads = [
            threading.Thread(target=lambda i=i: answers.append(ask(wide, job, f"w{i}", wait_s=3)))
            for i in range(60)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert tell(http, job, order, 0.02).status_code == 200
        for thread in threads:
            thread.join(30)
    assert len(answers) == 60
    assert sum(len(answer["trials"]) for answer in answers) == 1


def test_a_job_that_trains_by_itself_has_nothing_to_give_out(http: httpx.Client) -> None:
    from tests.jobs.build import job_data as template_job

    made = http.post("/v1/jobs", json=template_job())
    assert made.status_code == 201, made.text
    answer = http.post(f"/v1/jobs/{made.json()['id']}/trials:ask", json={"client_id": "gpu-1"})
    assert "trains its trials itself" in problem(answer, 409)["detail"]
    problem(http.post("/v1/jobs/job_none/trials:ask", json={"client_id": "gpu-1"}), 404)


def test_both_are_in_the_openapi_document_with_examples_and_errors(http: httpx.Client) -> None:
    document = http.get("/v1/openapi.json").json()
    for path in ("/v1/jobs/{job}/trials:ask", "/v1/jobs/{job}/trials/{number}:tell"):
        operation = document["paths"][path]["post"]
        assert {"200", "401", "403", "404", "409", "422"} <= set(operation["responses"])
        assert operation["description"]
    schemas = document["components"]["schemas"]
    for name in ("AskRequest", "AskAnswer", "TellRequest", "TellAnswer"):
        assert schemas[name]["examples"], name
