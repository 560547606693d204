"""Trials as the database keeps them for lists: one row each, written with the events about them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from automata_svc.results.result import plain, trial_row
from automata_svc.tuning.state import JobState

if TYPE_CHECKING:
    from automata_svc.database import TrialRow


def trial_rows(state: JobState, numbers: Iterable[int]) -> list[TrialRow]:
    """These trials as they stand; the body is a trial as `results.result` shows it."""
    from automata_svc.database import TrialRow

    rows = []
    for number in numbers:
        body = plain(trial_row(state, state.trials[number]))
        rows.append(
            TrialRow(
                number=number,
                state=body["state"],
                reason=body["reason"],
                rung=body["rung"],
                metric=body["metric"],
                loss=body["loss"],
                share=body["share"],
                body=json.dumps(body, ensure_ascii=False, allow_nan=False),
            )
        )
    return rows
