"""The OpenAPI document: complete enough that a client can be made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from automata_svc.spec.wire import events, jobs, logs, problems, results, trials
from tests.api.served import Served


@pytest.fixture(scope="module")
def document(served: Served) -> dict[str, Any]:
    return dict(served.client.get("/v1/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_reference_leads_somewhere(document):
    text = json.dumps(document)
    for part in text.split('"$ref": "')[1:]:
        name = part.split('"')[0]
        assert name.startswith("#/components/schemas/")
        assert name.rpartition("/")[2] in document["components"]["schemas"], name


def test_every_operation_has_a_name_a_summary_and_says_what_it_is_for(document):
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for where, operation in operations(document):
        assert operation["tags"] and operation["description"], where
    headings = [operation["summary"] for _, operation in operations(document)]
    assert len(set(headings)) == len(names) and "List templates" in headings


def test_every_error_is_a_problem(document):
    for where, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status[0] in "45":
                assert list(answer["content"]) == ["application/problem+json"], (where, status)


def test_what_needs_a_token_says_so(document):
    from tests.api.test_error_shape import OPEN

    for where, operation in operations(document):
        needs = where.split(" ")[1] not in OPEN
        assert bool(operation.get("security")) == needs, where
        assert ("401" in operation["responses"]) == needs, where
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_nothing_of_the_frameworks_own_errors_is_left(document):
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.parametrize("module", [events, jobs, logs, problems, results, trials])
def test_examples_are_what_their_models_take(module):
    for model in vars(module).values():
        if isinstance(model, type) and issubclass(model, BaseModel):
            for example in (model.model_config.get("json_schema_extra") or {}).get("examples", ()):
                made = model.model_validate(example)
                assert (
                    json.loads(made.model_dump_json(by_alias=True, exclude_unset=True)) == example
                )


def test_the_example_of_a_job_file_is_one(served):
    from automata_svc.spec.wire.examples import JOB_FILE, JOB_TEXT

    answers = [
        served.client.post(
            "/v1/jobs", params={"validate_only": True}, content=text,
            headers={"Content-Type": f"application/{form}"},
        )
        for text, form in ((JOB_TEXT, "yaml"), (json.dumps(dict(JOB_FILE)), "json"))
    ]  # fmt: skip
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json()["job"] == answers[1].json()["job"]
