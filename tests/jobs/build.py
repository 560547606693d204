"""Small real jobs: digits, a few passes each, so that a whole job takes about a second."""

from __future__ import annotations

import copy
import json
from typing import Any

RUNNER = "inprocess"

_JOB: dict[str, Any] = {
    "apiVersion": "automata/v1",
    "kind": "TuneJob",
    "metadata": {"name": "digits-small"},
    "spec": {
        "trial": {"template": "tabular_mlp", "dataset": "digits", "settings": {"epochs": 4}},
        "space": {"lr": {"loguniform": [0.01, 0.3]}, "hidden": [16, 32], "batch_size": [16, 32]},
        "scheduler": {"shares": [0.03, 0.1, 0.3], "keep": [3, 2, 1]},
        "budget": {"trials": 6},
    },
}


def job_data(name: str = "digits-small", **spec: Any) -> dict[str, Any]:
    """The small job with keys of its spec replaced; None leaves one out."""
    data = copy.deepcopy(_JOB)
    data["metadata"]["name"] = name
    for key, value in spec.items():
        if value is None:
            data["spec"].pop(key, None)
        else:
            data["spec"][key] = value
    return data


def job_text(name: str = "digits-small", **spec: Any) -> str:
    return json.dumps(job_data(name, **spec))


def trial(**fields: Any) -> dict[str, Any]:
    """The small job's trial section with fields replaced."""
    return {**copy.deepcopy(_JOB["spec"]["trial"]), **fields}
