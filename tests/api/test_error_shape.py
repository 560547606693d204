"""Every route says every error in one shape, and says of which kinds it may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from automata_svc.api.problems import ERRORS, STATUSES, TYPE_PREFIX, install, kind_of, respond
from automata_svc.api.routes import ROUTERS
from automata_svc.api.routing import StrictRoute
from automata_svc.spec.wire.problems import Problem
from tests.api.running import running
from tests.api.served import Served, client_of

OPEN = {"/healthz", "/readyz", "/metrics"}  # what needs no token


def routes() -> list[tuple[str, str]]:
    """(method, path) of every route of the table."""
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    found = [
        (method, one.path)
        for one in iter_route_contexts(app.routes)
        if isinstance(one.original_route, APIRoute)
        for method in sorted(one.methods or ())
    ]
    assert len(found) > 20
    return found


def example(path: str) -> str:
    """A path with a value for every parameter, of things that there are not."""
    return (
        path.replace("{job}", "job_none").replace("{number}", "0").replace("{", "").replace("}", "")
    )


def problem_of(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = Problem.model_validate(answer.json())
    assert problem.status == answer.status_code
    assert problem.type.startswith(TYPE_PREFIX)
    assert problem.title and problem.detail and problem.instance.startswith("/")
    assert problem.trace_id == answer.headers["x-trace-id"]
    assert "Traceback" not in answer.text
    return problem


@pytest.mark.parametrize(("method", "path"), [one for one in routes() if one[1] not in OPEN])
def test_without_a_token_every_route_says_so_before_anything_else(served, method, path):
    with client_of(served.url, None) as client:
        for body in (b"", b"{", b'{"a": NaN}', b"\xff"):
            answer = client.request(
                method, example(path), content=body, headers={"Content-Type": "application/json"}
            )
            assert problem_of(answer).status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), routes())
def test_what_a_route_answers_to_nonsense_is_what_it_declares(served, method, path):
    document = served.client.get("/v1/openapi.json").json()
    declared = document["paths"][path][method.lower()]["responses"]
    for body in (b"", b"{", b'{"a": 1, "a": 2}', b"[1]", b"\xff\xfe", b'{"a": "\\ud800"}'):
        for media in ("application/json", "application/yaml", "text/plain", "image/png", ""):
            answer = served.client.request(
                method,
                example(path),
                content=body,
                headers={"Content-Type": media, "If-Match": "*"},
                params={"page_size": "x", "after": "x"},
            )
            assert str(answer.status_code) in declared, (body, media, answer.text)
            if answer.status_code >= 400:
                problem_of(answer)


@pytest.mark.parametrize(("method", "path"), routes())
def test_a_method_that_a_path_does_not_take_is_refused_alike(served, method, path):
    document = served.client.get("/v1/openapi.json").json()
    for other in {"PUT", "PATCH", "DELETE", "POST", "GET"} - {
        one.upper() for one in document["paths"][path]
    }:
        answer = served.client.request(other, example(path))
        if answer.status_code != 405:  # what another route reads as something of that name
            assert ":" in path.rpartition("/")[2]
            continue
        assert problem_of(answer).code == "method-not-allowed"
        assert method in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/jobs", "/v1/jobs/", "/v1/jobs/a/b/c", "/v1/%00", "/%ff%fe",
     "/v1/jobs/../../etc/passwd", "/v1/openapi.yaml", "/docs", "/v1//jobs"],
)  # fmt: skip
def test_a_path_that_there_is_not_is_refused_alike(served, path):
    answer = served.client.get(path)
    assert answer.status_code in (404, 422)
    problem_of(answer)


def test_every_kind_of_error_has_a_status_and_a_name_of_its_own() -> None:
    codes = [kind.code for kind in (*ERRORS.values(), *STATUSES.values())]
    assert len(set(codes)) >= len(ERRORS)
    for kind in (*ERRORS.values(), *STATUSES.values()):
        assert 400 <= kind.status < 600
        assert kind.title


def test_every_error_of_ours_is_in_the_table() -> None:
    from automata_svc import errors

    def below(cls: type[Exception]) -> Iterator[type[Exception]]:
        for one in cls.__subclasses__():
            if one.__module__ == errors.__name__:
                yield one
                yield from below(one)

    for cls in below(errors.AutomataError):
        kind = next(ERRORS[one] for one in cls.__mro__ if one in ERRORS)
        assert kind.code != "failed", f"{cls.__name__} has no row, nor has what it is a kind of"


def test_what_nobody_thought_of_is_a_500_without_insides(caplog) -> None:
    from automata_svc.api.meters import Meters
    from automata_svc.api.observe import Observe

    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    install(app)
    app.add_middleware(Observe, meters=Meters())

    @app.get("/breaks")
    def breaks() -> None:
        raise ZeroDivisionError("the secret is 42")

    with running(app) as url, httpx.Client() as client:
        answer = client.get(
            f"{url}/breaks", headers={"traceparent": f"00-{'ab' * 16}-{'1' * 16}-01"}
        )
    problem = problem_of(answer)
    assert (problem.status, problem.code) == (500, "internal")
    assert "secret" not in answer.text
    assert problem.trace_id == "ab" * 16
    assert "the secret is 42" in caplog.text and problem.trace_id in caplog.text


def test_the_kinds_of_waiting_say_when_to_come_back() -> None:
    from automata_svc.errors import TooMany, Unavailable

    scope: dict[str, Any] = {"path": "/", "headers": []}
    assert respond(Unavailable("away"), scope).headers["retry-after"] == "1"
    assert respond(TooMany("fast", 2.3), scope).headers["retry-after"] == "3"
    assert kind_of(TooMany("fast", 2.3)).status == 429


def test_every_route_reads_bodies_strictly() -> None:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, StrictRoute), route


def test_trace_ids_that_are_none_are_replaced(served: Served) -> None:
    for given in ("", "00-0-0-0", f"00-{'0' * 32}-{'1' * 16}-01", "x" * 300):
        answer = served.client.get("/v1/nothing", headers={"traceparent": given})
        assert len(problem_of(answer).trace_id) == 32
