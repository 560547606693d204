"""One small job file, for documentation: as data, and as somebody writes it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

JOB_FILE: Mapping[str, Any] = MappingProxyType(
    {
        "apiVersion": "automata/v1",
        "kind": "TuneJob",
        "metadata": {"name": "digits-mlp"},
        "spec": {
            "trial": {"template": "tabular_mlp", "dataset": "digits"},
            "space": {"lr": {"loguniform": [0.0001, 0.1]}},
            "budget": {"trials": 27},
        },
    }
)

JOB_TEXT = """\
apiVersion: automata/v1
kind: TuneJob
metadata: {name: digits-mlp}
spec:
  trial: {template: tabular_mlp, dataset: digits}
  space: {lr: {loguniform: [1e-4, 1e-1]}}
  budget: {trials: 27}
"""
