"""A job's trials as a pandas DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automata_svc.tuning.state import JobState

if TYPE_CHECKING:
    import pandas


def trials_frame(state: JobState) -> pandas.DataFrame:
    """One row per trial, parameters as columns."""
    import pandas

    rows = []
    for trial in state.trials:
        value = trial.last_value
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state,
                "reason": trial.move.reason,
                "rung": trial.rung,
                state.plan.metric: None if value is None else value.metric,
                state.plan.loss_metric: None if value is None else value.loss,
                "price": state.plan.price(trial.cost.train_rows, trial.cost.forward_rows),
                **trial.params,
            }
        )
    return pandas.DataFrame(rows)
