"""One configuration trained: templates, the Trial they are handed, checkpoints.

What a template imports: `from automata_svc.trials import Trial, TrialParams, weighted_mean`.
Names are loaded when asked for, so that listing templates loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automata_svc.trials.data import EvalSplit as EvalSplit
    from automata_svc.trials.data import TrialData as TrialData
    from automata_svc.trials.params import TrialParams as TrialParams
    from automata_svc.trials.segment import run_segment as run_segment
    from automata_svc.trials.trial import Trial as Trial
    from automata_svc.trials.weights import weighted_mean as weighted_mean

_HOMES = {
    "EvalSplit": "data",
    "Trial": "trial",
    "TrialData": "data",
    "TrialParams": "params",
    "run_segment": "segment",
    "weighted_mean": "weights",
}

__all__ = ["EvalSplit", "Trial", "TrialData", "TrialParams", "run_segment", "weighted_mean"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
