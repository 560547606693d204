"""What the framework does not put into the OpenAPI document by itself."""

from __future__ import annotations

from typing import Any

from automata_svc.spec.job import TuneJob
from automata_svc.spec.wire.problems import Problem

_REF = "#/components/schemas/{model}"


def with_components(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the models that are named by hand, and headings that say the operation.

    Made of a function's name, half of the lists would be called "Ls".
    """
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (Problem, TuneJob):
        made = model.model_json_schema(ref_template=_REF)
        for name, part in made.pop("$defs", {}).items():
            schemas.setdefault(name, part)
        schemas[model.__name__] = made
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document
