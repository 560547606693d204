"""Hostile input over HTTP: a clear refusal, quickly, and the service goes on."""

from __future__ import annotations

import gzip
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.served import JSON, YAML, Served
from tests.jobs.build import job_data, job_text


def bomb(levels: int = 30) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


NESTED = job_text().replace('"digits-small"', "[" * 5_000 + "]" * 5_000)
BODIES: dict[str, tuple[str | bytes, dict[str, str]]] = {
    "nothing": ("", YAML),
    "only blanks": ("  \n\n", YAML),
    "a number": ("17", JSON),
    "a list": ("[]", JSON),
    "null": ("null", JSON),
    "not JSON": ("{", JSON),
    "YAML that is said to be JSON": ("apiVersion: automata/v1", JSON),
    "YAML in braces that is said to be JSON": ("{apiVersion: automata/v1}", JSON),
    "aliases that grow": (bomb(), YAML),
    "an alias in itself": ("a: &a [*a]", YAML),
    "deep JSON": (NESTED, JSON),
    "deep YAML": ("a: " * 1 + "[" * 100_000, YAML),
    "deep by indents": ("\n".join(" " * i + "a:" for i in range(900)), YAML),
    "a key twice": (job_text().replace('"kind"', '"kind": "TuneJob", "kind"'), JSON),
    "NaN": (job_text().replace('"trials": 6', '"trials": NaN'), JSON),
    "infinity": (job_text().replace('"trials": 6', '"trials": 1e999'), JSON),
    "a number of many digits": (job_text().replace("6}", "6" * 10_000 + "}"), JSON),
    "NUL": (job_text().replace("digits-small", "a\\u0000b"), JSON),
    "a bare NUL": (job_text().replace("digits-small", "a\0b"), JSON),
    "half a surrogate pair": (job_text().replace("digits-small", "\\ud800"), JSON),
    "not UTF-8": (job_text().encode("utf-16"), JSON),
    "broken UTF-8": (b'{"a": "\xff\xfe"}', JSON),
    "a python object": ("!!python/object/apply:os.system ['true']", YAML),
    "two documents": ("a: 1\n---\na: 2", YAML),
    "merge keys": ("a: &a {b: 1}\nc: {<<: *a}", YAML),
    "a long key": (json.dumps({"k" * 900_000: 1}), JSON),
    "many keys": (json.dumps(dict.fromkeys(map(str, range(60_000)), 1)), JSON),
    "deep parameters": (job_text(subset={"options": {"a": {"b": [1] * 60_000}}}), JSON),
}


@pytest.mark.parametrize("what", sorted(BODIES))
def test_a_job_file_that_is_none_is_refused_quickly(served: Served, what: str) -> None:
    body, headers = BODIES[what]
    began = time.monotonic()
    answer = served.client.post("/v1/jobs", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
    assert time.monotonic() - began < 10
    assert served.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "media",
    ["", "text/html", "multipart/form-data", "application/x-www-form-urlencoded",
     "application/json; charset=utf-16", "application/json; charset=nonsense", "json",
     "application/octet-stream", "ünsinn"],
)  # fmt: skip
def test_other_media_types_are_refused_with_what_would_be_right(served, media):
    answer = served.client.post(
        "/v1/jobs", content=job_text(), headers={"Content-Type": media.encode()}
    )
    assert answer.status_code == 415
    assert "UTF-8" in answer.text or "application/yaml" in answer.text


@pytest.mark.parametrize(
    "media",
    ["application/json", "APPLICATION/JSON", "application/json;charset=utf-8",
     'application/json; charset="UTF-8"', "application/vnd.automata+json", "text/yaml"],
)  # fmt: skip
def test_all_ways_to_say_the_right_one_are_taken(served, media):
    answer = served.client.post("/v1/jobs", content=job_text(), headers={"Content-Type": media})
    assert answer.status_code == 201


def test_a_body_that_is_packed_is_refused_as_that(served):
    packed = gzip.compress(job_text().encode())
    answer = served.client.post(
        "/v1/jobs", content=packed, headers={**YAML, "Content-Encoding": "gzip"}
    )
    assert answer.status_code == 415 and "not in 'gzip'" in answer.text
    headers = {**YAML, "Content-Encoding": "identity"}
    assert served.client.post("/v1/jobs", content=job_text(), headers=headers).status_code == 201


@pytest.mark.parametrize("reason", ["\x1b[2J", "a\x00b", "bell\x07", "\x9b31m", "back\b"])
def test_a_reason_cannot_write_to_the_terminals_of_others(served, reason):
    job = served.submit()
    refused = served.client.post(f"/v1/jobs/{job}:stop", json={"reason": reason})
    assert refused.status_code == 422
    taken = served.client.post(f"/v1/jobs/{job}:stop", json={"reason": "two\nlines, é"})
    assert taken.status_code == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read(served):
    answer = served.client.post("/v1/jobs", content=b"x" * 1_500_000, headers=YAML)
    assert answer.status_code == 413
    assert answer.json()["type"].endswith(":too-large")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/jobs", {"page_size": "0"}),
        ("/v1/jobs", {"page_size": "501"}),
        ("/v1/jobs", {"page_size": "1e2"}),
        ("/v1/jobs", {"page_size": "9" * 5_000}),
        ("/v1/jobs", {"page_token": "A" * 2_001}),
        ("/v1/jobs", {"page_token": "\0"}),
        ("/v1/jobs", {"state": "ASLEEP"}),
        ("/v1/jobs", {"name": "\0"}),
        ("/v1/jobs", {"name": "a" * 64}),
        ("/v1/jobs", {"project": "../x"}),
        ("/v1/jobs", {"project": "😀"}),
        ("/v1/jobs", {"label": "no-equals-sign"}),
        ("/v1/jobs", {"label": "a=\0"}),
        ("/v1/jobs", {"label": "k" * 64 + "=v"}),
        ("/v1/jobs", {"label": "k=" + "v" * 64}),
        ("/v1/jobs/job_none/trials", {"order": "best"}),
        ("/v1/jobs/job_none/trials", {"state": "pruned"}),
        ("/v1/jobs/job_none/trials/-1", {}),
        ("/v1/jobs/job_none/trials/1e3", {}),
        ("/v1/jobs/job_none/trials/99999999999", {}),
        ("/v1/jobs/job_none/trials/0/metrics", {"max_points": "2"}),
        ("/v1/jobs/job_none/trials/0/metrics", {"names": ["n"] * 101}),
        ("/v1/jobs/job_none/trials/0/metrics", {"names": "\0"}),
        ("/v1/jobs/%00", {}),
        ("/v1/jobs/" + "a" * 101, {}),
        ("/v1/jobs/%F0%9F%98%80", {}),
        ("/v1/jobs/a%20b", {}),
        ("/v1/jobs/%27%20OR%201%3D1", {}),
    ],
)
def test_absurd_parameters_are_refused(served: Served, path: str, params: dict[str, Any]) -> None:
    answer = served.client.get(path, params=params)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


def test_parameters_that_nobody_asked_for_are_passed_over(served):
    assert served.client.get("/v1/jobs", params={"pagesize": "x"}).status_code == 200


@pytest.mark.parametrize("key", ["", "a" * 256, "ü", "a\tb"])
def test_idempotency_keys_that_are_none_are_refused(served, key):
    answer = served.client.post(
        "/v1/jobs", content=job_text(), headers={**JSON, "Idempotency-Key": key.encode()}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "header.Idempotency-Key"


def test_names_and_labels_may_be_in_any_script_where_they_are_texts(served):
    data = job_data(description="Größe 大小 حجم 😀")
    data["metadata"]["labels"] = {"ключ": "значение", "😀": "مرحبا", "a b": "c=d"}
    job = served.client.post("/v1/jobs", content=json.dumps(data), headers=JSON).json()
    assert job["labels"] == data["metadata"]["labels"]
    found = served.client.get("/v1/jobs", params={"label": "ключ=значение"}).json()["items"]
    assert [one["id"] for one in found] == [job["id"]]
    assert served.client.get("/v1/jobs", params={"label": "a b=c=d"}).json()["items"]
    data["metadata"]["name"] = "größe"
    assert served.client.post("/v1/jobs", content=json.dumps(data), headers=JSON).status_code == 422


def test_what_reads_like_a_query_is_a_text(served):
    data = job_data()
    data["metadata"]["labels"] = {"x'; DROP TABLE jobs; --": '" OR 1=1'}
    made = served.client.post("/v1/jobs", content=json.dumps(data), headers=JSON).json()
    found = served.client.get(
        "/v1/jobs", params={"label": "x'; DROP TABLE jobs; --=\" OR 1=1"}
    ).json()["items"]
    assert [one["id"] for one in found] == [made["id"]]


def test_a_clock_that_went_back_loses_no_job_and_no_page(served):
    """A job whose time lies before that of an older one takes its place in the list, once."""
    world = served.world
    made = [served.submit("skewed") for _ in range(2)]
    before, world.hosted._clock = world.hosted._clock, lambda: time.time() - 3_600
    try:
        made.append(served.submit("skewed"))
    finally:
        world.hosted._clock = before
    found, token = [], None
    while True:
        params = {"name": "skewed", "page_size": 1, **({"page_token": token} if token else {})}
        page = served.client.get("/v1/jobs", params=params).json()
        found += [job["id"] for job in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert sorted(found) == sorted(made)
    assert found[-1] == made[-1]


@pytest.mark.parametrize(
    "raw",
    [b"GET / HTTP/1.1\r\n\r\n" * 3, b"\x16\x03\x01\x02\x00",
     b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
     b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
     b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200_000 + b"\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_harms_nobody(served, raw):
    where = urlsplit(served.url)
    with socket.create_connection((where.hostname, where.port), timeout=5) as one:
        one.sendall(raw)
        one.settimeout(1)
        try:
            answer = one.recv(1_000)
        except (TimeoutError, ConnectionResetError):
            answer = b""
    assert b" 500 " not in answer
    assert served.client.get("/healthz").status_code == 200
