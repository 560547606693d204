"""A connection: what is sent again, and how a server's problems come back."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from automata_svc import errors
from automata_svc.client.http import TRIES, Http
from automata_svc.jobs.remote import RemoteService
from automata_svc.spec.wire.problems import MEDIA_TYPE, TYPE_PREFIX
from tests.api.served import Served, serving

Answer = Callable[[httpx.Request], httpx.Response]


class Scripted:
    """Answers one after the other; the last one again and again."""

    def __init__(self, *answers: Answer | httpx.Response) -> None:
        self.answers, self.seen, self.slept = list(answers), [], []  # type: ignore[var-annotated]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers[min(len(self.seen), len(self.answers)) - 1]
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def http(self) -> Http:
        transport = httpx.MockTransport(self)
        return Http("http://server", "secret", transport=transport, sleep=self.slept.append)


def problem(status: int, code: str, detail: str = "said", **headers: str) -> httpx.Response:
    body = {"type": TYPE_PREFIX + code, "title": "t", "status": status, "detail": detail,
            "instance": "/x", "errors": [], "trace_id": "abc"}  # fmt: skip
    return httpx.Response(
        status, content=json.dumps(body), headers={"content-type": MEDIA_TYPE, **headers}
    )


def cut(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("the line was cut", request=request)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


OK = httpx.Response(200, json={"fine": True})


def test_a_read_is_sent_again_until_it_is_answered() -> None:
    script = Scripted(cut, problem(503, "unavailable"), OK)
    assert script.http().request("GET", "/x").json() == {"fine": True}
    assert len(script.seen) == 3
    assert script.seen[0].headers["authorization"] == "Bearer secret"


def test_a_post_is_sent_twice_only_with_a_key_or_if_it_did_nothing() -> None:
    script = Scripted(cut, OK)
    with pytest.raises(errors.Unavailable, match="does not answer"):
        script.http().request("POST", "/x")
    assert len(script.seen) == 1
    for first in (refused, problem(429, "too-many", **{"retry-after": "2"})):
        script = Scripted(first, OK)
        assert script.http().request("POST", "/x").is_success
    script = Scripted(cut, OK)
    assert script.http().request("POST", "/x", headers={"Idempotency-Key": "k"}).is_success


def test_a_server_that_says_when_is_asked_then_and_not_for_ever() -> None:
    script = Scripted(problem(429, "too-many", **{"retry-after": "3"}))
    with pytest.raises(errors.TooMany) as caught:
        script.http().request("GET", "/x")
    assert caught.value.retry_after_s == 3
    assert len(script.seen) == TRIES
    assert all(pause >= 3 for pause in script.slept)


@pytest.mark.parametrize(
    ("status", "code", "kind", "exit_code"),
    [
        (401, "unauthenticated", errors.Unauthenticated, 6),
        (403, "denied", errors.Denied, 6),
        (404, "not-found", errors.NotFound, 3),
        (409, "conflict", errors.Conflict, 4),
        (412, "stale", errors.Stale, 4),
        (413, "too-large", errors.TooLarge, 2),
        (422, "key-reused", errors.KeyReused, 4),
        (422, "invalid", errors.SpecError, 2),
        (500, "internal", errors.AutomataError, 1),
        (503, "unavailable", errors.Unavailable, 5),
    ],
)
def test_a_problem_comes_back_as_the_error_it_was(
    status: int, code: str, kind: type[errors.AutomataError], exit_code: int
) -> None:
    with pytest.raises(errors.AutomataError, match="said") as caught:
        Scripted(problem(status, code)).http().request("POST", "/x")
    assert type(caught.value) is kind and caught.value.exit_code == exit_code


def test_what_is_no_server_of_ours_is_said() -> None:
    with pytest.raises(errors.NotFound, match="is it an automata server"):
        Scripted(httpx.Response(404, text="<html>")).http().request("GET", "/x")
    with pytest.raises(errors.SpecError, match="URL"):
        Http("server:80")


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[", "http://here:99999", "ftp://here", "http://here/?a=1", "//here"],
)
def test_what_cannot_be_a_servers_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(errors.SpecError, match="server"):
        Http(url)


def test_what_cannot_be_a_token_is_refused_and_not_repeated() -> None:
    for token in ("", "two words", "line\nbreak", "töken"):
        with pytest.raises(errors.SpecError, match="token") as caught:
            Http("http://here", token)
        assert not token or token not in str(caught.value)
    with pytest.raises(errors.SpecError, match="--token-file") as caught:
        Http("http://me:hush@here")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "body", ["<html>a router's login page</html>", "[]", '{"items": [{"id": 1}]}', '{"items": 3}']
)
def test_an_answer_that_is_not_ours_is_said_to_be_none(body: str) -> None:
    there = RemoteService(Scripted(httpx.Response(200, text=body)).http())
    for ask in (there.jobs, lambda: there.find("job"), lambda: list(there.events("job"))):
        with pytest.raises(errors.AutomataError, match="is it an automata server"):
            ask()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    with serving(tmp_path_factory.mktemp("served")) as one:
        yield one


def test_a_token_that_is_not_known_is_denied_with_its_exit_code(served: Served) -> None:
    with Http(served.url, "automata_nonsense") as http, pytest.raises(errors.Denied) as caught:
        http.request("GET", "/v1/jobs")
    assert caught.value.exit_code == 6


def test_a_server_of_this_machine_is_reached_whatever_proxy_is_set(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for url in (served.url, served.url.replace("127.0.0.1", "localhost")):
        with Http(url, served.token("jobs:read"), sleep=lambda seconds: None) as http:
            assert http.request("GET", "/v1/jobs").is_success


def test_nobody_at_the_address_is_unreachable_and_says_what_to_do() -> None:
    http = Http("http://127.0.0.1:9", sleep=lambda seconds: None)  # discard: nobody listens
    with http, pytest.raises(errors.Unavailable, match="automata serve"):
        http.request("GET", "/v1/jobs")
