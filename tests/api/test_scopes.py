"""Every route needs a scope, and shows nothing of other projects."""

from __future__ import annotations

import pytest

from automata_svc.jobs.tenancy import SCOPES
from tests.api.served import JSON, client_of
from tests.api.test_error_shape import OPEN, example, routes
from tests.jobs.build import job_text

GUARDED = [one for one in routes() if one[1] not in OPEN]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_route_needs_exactly_one_scope(served, method, path):
    """With it the route goes on to say what else is wrong; with all others it is refused."""
    enough = set()
    for scope in SCOPES:
        client = served.as_(scope)
        answer = client.request(method, example(path), headers={"If-Match": "*"})
        if answer.status_code != 403:
            enough.add(scope)
        else:
            assert answer.json()["type"].endswith(":denied")
    assert "admin" in enough
    assert len(enough) <= 2, f"{method} {path} is open to {enough}"


@pytest.mark.parametrize(("method", "path"), [one for one in GUARDED if "{job}" in one[1]])
def test_another_projects_job_is_not_found_by_any_route(served, method, path):
    owner = served.as_("admin", project="owner")
    job = owner.post("/v1/jobs", content=job_text("private"), headers=JSON).json()["id"]
    stranger = served.as_("admin", project="stranger")
    where = path.replace("{job}", job).replace("{number}", "0").replace("{delivery}", "dlv_0")
    body = {"client_id": "c"} if path.endswith(":ask") else (
        {"client_id": "c", "segment": 0, "share": 0.5} if path.endswith(":tell") else {}
    )  # fmt: skip
    answer = stranger.request(
        method, where, headers={"If-Match": "*"}, **({"json": body} if method != "GET" else {})
    )
    assert answer.status_code == 404, answer.text
    assert "private" not in answer.text and "owner" not in answer.text


@pytest.mark.parametrize("path", sorted(OPEN) + ["/v1/openapi.json"])
def test_what_machines_look_after_needs_no_token_and_names_nobody(served, path):
    served.submit("not-to-be-named")
    with client_of(served.url, None) as client:
        answer = client.get(path)
    assert answer.status_code == 200
    assert "not-to-be-named" not in answer.text
    assert "job_0" not in answer.text.replace("job_01K0A8S0M2Z7Q4W9X3Y5T6V8R1", "")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Basic dXNlcjpwYXNz", "Bearer automata_x", "bearer x y", "Bearer ü",
     "Bearer " + "a" * 5_000],
)  # fmt: skip
def test_a_header_that_is_no_token_is_refused(served, header):
    with client_of(served.url, None) as client:
        answer = client.get("/v1/jobs", headers={"Authorization": header.encode()})
    assert answer.status_code == 401
    assert answer.json()["type"].endswith(":unauthenticated")
