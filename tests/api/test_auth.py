"""The door: tokens, scopes, projects and the pace, asked of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from automata_svc.api.app import make_app
from automata_svc.api.limits import Limits
from automata_svc.api.world import ServiceWorld
from automata_svc.settings import Settings
from tests.api.running import running

CHALLENGE = 'Bearer realm="automata"'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorld]:
    home = tmp_path_factory.mktemp("auth")
    settings = Settings.from_env({"AUTOMATA_HOME": str(home)})
    one = ServiceWorld.of(settings, Limits(rate_per_s=1_000, burst=1_000))
    yield one
    one.service.database.close()


@pytest.fixture(scope="module")
def url(world: ServiceWorld) -> Iterator[str]:
    with running(make_app(world)) as address:
        yield address


@pytest.fixture(scope="module")
def admin(world: ServiceWorld) -> str:
    return world.tokens.create("root", ["admin"]).secret


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def is_problem(answer: httpx.Response, status: int) -> bool:
    body = answer.json()
    return (
        answer.status_code == status == body["status"]
        and answer.headers["content-type"] == "application/problem+json"
    )


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Basic YWRtaW46YWRtaW4=", "Bearer nonsense",
     "Bearer automata_" + 43 * "x", "bearer automata_" + 43 * "x"],
)  # fmt: skip
def test_without_a_good_token_the_answer_is_401_and_says_what_is_wanted(
    url: str, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.get(f"{url}/v1/jobs", headers=headers)
    assert is_problem(answer, 401)
    assert answer.headers["www-authenticate"] == CHALLENGE


def test_a_token_without_the_scope_is_403_and_names_it(url: str, world: ServiceWorld) -> None:
    secret = world.tokens.create("reader", ["jobs:read"]).secret
    assert httpx.get(f"{url}/v1/jobs", headers=bearer(secret)).status_code == 200
    answer = httpx.get(f"{url}/v1/tokens", headers=bearer(secret))
    assert is_problem(answer, 403) and "admin" in answer.json()["detail"]


def test_a_token_is_looked_at_before_the_body_is(url: str) -> None:
    answer = httpx.post(f"{url}/v1/tokens", content=b"{nonsense")
    assert is_problem(answer, 401)


def test_a_token_made_over_the_wire_works_until_it_is_revoked(url: str, admin: str) -> None:
    body: dict[str, Any] = {"name": "ci", "scopes": ["jobs:read"], "expires_in_s": 3600}
    made = httpx.post(f"{url}/v1/tokens", json=body, headers=bearer(admin))
    assert made.status_code == 201
    token = made.json()
    assert token["expires_at"] > token["created_at"]
    mine = bearer(token["secret"])
    assert httpx.get(f"{url}/v1/jobs", headers=mine).status_code == 200
    listed = httpx.get(f"{url}/v1/tokens", headers=bearer(admin))
    assert token["id"] in [one["id"] for one in listed.json()["items"]]
    assert token["secret"] not in listed.text and "hash" not in listed.text
    for _ in range(2):  # idempotent
        gone = httpx.delete(f"{url}/v1/tokens/{token['id']}", headers=bearer(admin))
        assert gone.status_code == 200 and gone.json()["revoked_at"] is not None
    assert is_problem(httpx.get(f"{url}/v1/jobs", headers=mine), 401)


def test_mistakes_in_a_request_for_a_token_come_back_together(url: str, admin: str) -> None:
    body = {"name": "ci", "scopes": ["jobs:reed", "root"]}
    answer = httpx.post(f"{url}/v1/tokens", json=body, headers=bearer(admin))
    assert is_problem(answer, 422)
    details = [one["detail"] for one in answer.json()["errors"]]
    assert len(details) == 2 and "did you mean 'jobs:read'?" in details[0]


def test_an_admin_of_one_project_reaches_its_tokens_and_no_others(
    url: str, world: ServiceWorld, admin: str
) -> None:
    lang = bearer(world.tokens.create("lang-admin", ["admin"], project="lang").secret)
    theirs = world.tokens.create("theirs", ["jobs:read"], project="vision").row
    made = httpx.post(f"{url}/v1/tokens", json={"name": "x", "scopes": ["admin"]}, headers=lang)
    assert made.json()["project"] == "lang"  # never more than its maker reaches
    for body in ({"name": "x", "scopes": ["admin"], "project": "vision"},):
        assert is_problem(httpx.post(f"{url}/v1/tokens", json=body, headers=lang), 403)
    listed = httpx.get(f"{url}/v1/tokens", headers=lang).json()["items"]
    assert {one["project"] for one in listed} == {"lang"}
    assert is_problem(httpx.delete(f"{url}/v1/tokens/{theirs.id}", headers=lang), 404)
    assert is_problem(httpx.get(f"{url}/v1/tokens?project=vision", headers=lang), 404)


def test_rate_headers_count_down_and_too_many_are_429_with_retry_after(tmp_path: Path) -> None:
    settings = Settings.from_env({"AUTOMATA_HOME": str(tmp_path)})
    world = ServiceWorld.of(settings, Limits(rate_per_s=0.01, burst=3))
    first = bearer(world.tokens.create("first", ["jobs:read"]).secret)
    other = bearer(world.tokens.create("other", ["jobs:read"]).secret)
    with running(make_app(world)) as address, httpx.Client(base_url=address) as client:
        answers = [client.get("/v1/jobs", headers=first) for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        assert [one.headers["ratelimit"].split(";")[1] for one in answers] == [
            "r=2", "r=1", "r=0", "r=0",
        ]  # fmt: skip
        assert is_problem(answers[3], 429) and 1 <= int(answers[3].headers["retry-after"]) <= 100
        assert client.get("/v1/jobs", headers=other).status_code == 200
        assert client.get("/healthz").status_code == 200
    world.service.database.close()


def test_every_path_but_health_and_the_document_wants_a_token(url: str, admin: str) -> None:
    document = httpx.get(f"{url}/v1/openapi.json", headers=bearer(admin)).json()
    open_to_all = {"/healthz", "/readyz", "/metrics", "/v1/openapi.json"}
    for path, methods in document["paths"].items():
        for method in methods:
            if path not in open_to_all and method in ("get", "post", "patch", "delete", "put"):
                answer = httpx.request(method, url + path.replace("{", "").replace("}", ""))
                assert answer.status_code == 401, (method, path)
                assert "401" in methods[method]["responses"], (method, path)
                assert methods[method]["security"], (method, path)
