"""The rungs as a funnel: how many trials came to each, drawn with bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automata_svc.results.figures import metric, share, table

BAR = 24  # columns of the longest bar
REST = 58  # columns of everything beside it


def funnel(
    rungs: Sequence[Mapping[str, Any]], planned: int, confirmed: int = 0, width: int = 80
) -> list[str]:
    """One line a rung, and one for the confirmation.

    Args:
        rungs: the `rungs` of a result.
        planned: trials of the job: the longest bar.
        confirmed: finalists that were trained to share 1; 0 leaves that line out.
        width: columns of the terminal; the bars give way first, then the best values.
    """
    most = max([planned, *(rung["arrived"] for rung in rungs), 1])
    columns = max(6, min(BAR, width - REST))
    rows = []
    for rung in rungs:
        top = rung["best"]
        shown = top is not None and width >= REST + 8
        best = f"best {metric(top['metric'])} (trial {top['trial']})" if shown else ""
        label = (f"rung {rung['rung']}", f"share {share(rung['share'])}")
        bar = _bar(rung["arrived"], most, columns)
        on = f"→ {rung['went_on']}" if rung["went_on"] else ""
        rows.append((*label, bar, str(rung["arrived"]), on, best))
    if confirmed:
        bar = _bar(confirmed, most, columns)
        rows.append(("confirmed", "share 1", bar, str(confirmed), "", ""))
    return table(rows, right=(3,))


def _bar(count: int, most: int, columns: int) -> str:
    filled = round(columns * count / most)
    return "█" * max(filled, 1 if count else 0)
