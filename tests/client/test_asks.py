"""Ask and tell from Python to a real server: the same example, the same objects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from automata_svc.client import asks
from automata_svc.errors import SpecError
from automata_svc.spec.wire.asks import AskAnswer, TellAnswer
from tests.api.served import Served, serving
from tests.jobs.clients import Client, job_data


class Plain:
    """The least that is needed of an HTTP client, and what it sent."""

    def __init__(self, http: httpx.Client) -> None:
        self.http, self.sent = http, [""]

    def post_json(self, path: str, body: str, *, timeout_s: float) -> bytes:
        self.sent.append(body)
        headers = {"Content-Type": "application/json"}
        answer = self.http.post(path, content=body, headers=headers, timeout=timeout_s)
        assert answer.status_code == 200, answer.text
        return answer.content

    def ask(self, job: str, *, client_id: str, count: int = 1, wait_s: float = 0.0) -> AskAnswer:
        return asks.ask(self, job, client_id=client_id, count=count, wait_s=wait_s)

    def tell(self, job: str, trial: int, **said: Any) -> TellAnswer:
        return asks.tell(self, job, trial, **said)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("asks")) as one:
        yield one


@pytest.fixture
def job(served: Served) -> str:
    answer = served.client.post("/v1/jobs", json=job_data())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_client_that_works_on_this_machine_works_over_http(served: Served, job: str) -> None:
    answer = Client(Plain(served.client), job).run()
    assert (answer.done, answer.reason) == ("SUCCEEDED", "search complete; not confirmed")


def test_what_is_not_finite_gets_through(served: Served, job: str) -> None:
    http = Plain(served.client)
    (order,) = http.ask(job, client_id="gpu-1").trials
    reply = http.tell(
        job, order.trial, client_id="gpu-1", segment=order.segment, share=order.until_share,
        values={"accuracy": math.nan}, loss=math.inf,
    )  # fmt: skip
    assert '"accuracy":"nan"' in http.sent[-1] and '"loss":"inf"' in http.sent[-1]
    assert reply.decision == "stop"


def test_a_mistake_is_found_before_anything_is_sent(served: Served, job: str) -> None:
    http = Plain(served.client)
    with pytest.raises(SpecError, match="share: "):
        http.tell(job, 0, client_id="gpu-1", segment=0, share=7)
    with pytest.raises(SpecError, match="wait_s"):
        http.ask(job, client_id="gpu-1", wait_s=500)
    assert http.sent == [""]
