"""A small job as data, for tests that break one thing in it."""

from __future__ import annotations

import copy
import json
from typing import Any

from automata_svc.spec.job import TuneJob
from automata_svc.spec.load import parse_job

MINIMAL = """\
apiVersion: automata/v1
kind: TuneJob
metadata: {name: letter-mlp}
spec:
  trial: {template: tabular_mlp, dataset: letter}
  objective: {metric: val_accuracy, mode: max}
  space: {lr: {loguniform: [1.0e-4, 1.0e-1]}, hidden: [64, 128, 256]}
  budget: {trials: 27}
"""

_DATA: dict[str, Any] = {
    "apiVersion": "automata/v1",
    "kind": "TuneJob",
    "metadata": {"name": "letter-mlp"},
    "spec": {
        "trial": {"template": "tabular_mlp", "dataset": "letter"},
        "space": {"lr": {"loguniform": [1e-4, 1e-1]}, "hidden": [64, 128, 256]},
        "budget": {"trials": 27},
    },
}


def job_data(**spec: Any) -> dict[str, Any]:
    """The minimal job, with sections of its spec replaced."""
    data = copy.deepcopy(_DATA)
    data["spec"].update(spec)
    return data


def load(**spec: Any) -> TuneJob:
    return parse_job(json.dumps(job_data(**spec)))
