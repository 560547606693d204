"""The whole OpenAPI document against a real server: no 5xx, and nothing that it does not declare.

Schemathesis makes requests that fit the document and requests that break it, the same ones in each
run; most of them are about jobs that there are. Streams never end and are tested by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.api.served import Served, serving
from tests.api.test_error_shape import routes

pytestmark = pytest.mark.real

CASES = 40  # of a route that fit the document, and as many that break it
SLOW = {"/v1/jobs/{job}/best": 5}  # starts a process for each
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
)
JOBS = ("fuzz-done", "fuzz-queued", "fuzz-paused", "fuzz-external")
# uvicorn's own words for what it cannot read: here, paths of more than 64 KiB.
NO_HTTP = "Invalid HTTP request received."
MOST_LINE = 60_000  # bytes of a request line that it reads for sure

asked = 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("fuzz")) as one:
        assert one.run(one.submit("fuzz-done")).state == "SUCCEEDED"
        for _ in range(20):
            one.submit("fuzz-queued")
        one.client.post(f"/v1/jobs/{one.submit('fuzz-paused')}:pause")
        one.submit(
            "fuzz-external",
            trial={"external": {"timeout": "1h"}},
            space={"lr": {"loguniform": [0.01, 0.3]}},
        )
        yield one


@pytest.fixture(scope="module")
def schema(served: Served) -> Any:
    load_all_checks()
    return schemathesis.openapi.from_url(f"{served.url}/v1/openapi.json")


def modes(schema: Any, method: str, path: str) -> tuple[GenerationMode, ...]:
    """What can be asked of a route: one that takes nothing cannot be asked wrongly."""
    definition = schema.raw_schema["paths"][path][method.lower()]
    takes = definition.get("parameters") or definition.get("requestBody")
    return (GenerationMode.POSITIVE, *((GenerationMode.NEGATIVE,) if takes else ()))


def line_length(case: Any) -> int:
    return len(urlencode(case.query or {}, doseq=True, errors="replace"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("method", "path"), routes())
def test_a_route_answers_what_it_declares(
    served: Served, schema: Any, method: str, path: str
) -> None:
    checks = [CHECKS.get_one(name) for name in CHECKED]
    headers = {"Authorization": f"Bearer {served.token('admin')}"}
    for mode in modes(schema, method, path):

        @settings(
            max_examples=SLOW.get(path, CASES),
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=schema[path][method].as_strategy(generation_mode=mode),
            job=st.sampled_from([*JOBS, None]),
        )
        def asks(case: Any, job: str | None) -> None:
            global asked
            asked += 1
            if job is not None and "job" in (case.path_parameters or {}):
                case.path_parameters["job"] = job
            if path.endswith("/events"):
                case.headers["Accept"] = "application/json"
            if isinstance(case.body, dict) and "wait_s" in case.body:
                case.body["wait_s"] = 0  # what is tested is not patience
            try:
                answer = case.call(headers=headers, timeout=60)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                # uvicorn hangs up on such a request line, now and then before its 400 is read.
                assert line_length(case) > MOST_LINE
                return
            if answer.status_code != 400 or answer.text != NO_HTTP:
                case.validate_response(answer, checks=checks, headers=headers)

        asks()
    assert served.client.get("/readyz").status_code == 200


def test_enough_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nfuzz: {asked} requests over {len(list(routes()))} routes")
    assert asked >= 2_000
