"""A scrambled Sobol sequence: random's independence from history, spread more evenly.

Owen scrambling, keyed by the job seed; trial number is the index into the sequence.
"""

from __future__ import annotations

import warnings

from automata_svc.selection.types import keyed_rng
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.searchers.base import Proposal, Searcher
from automata_svc.tuning.searchers.points import Points
from automata_svc.tuning.state import JobState


class Qmc:
    """One dimension per parameter in sorted order; inactive ones are drawn and not used."""

    def __init__(self, plan: SearchPlan) -> None:
        self._points = Points(plan)
        self._names = sorted(self._points.space.domains)
        self._seed = plan.seed

    def propose(self, state: JobState, number: int) -> Proposal:
        point = dict(zip(self._names, self._row(number), strict=True))
        return self._points.propose(number, point.__getitem__, "qmc")

    def _row(self, number: int) -> list[float]:
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self._names), scramble=True, rng=keyed_rng(self._seed, "qmc"))
        with (
            warnings.catch_warnings()
        ):  # balance needs a power of two; one point at a time has none
            warnings.simplefilter("ignore", UserWarning)
            if number:  # scipy cannot skip nothing
                sequence.fast_forward(number)
            row = sequence.random(1)[0]
        return [min(float(value), 1 - 2**-53) for value in row]


class QmcKind:
    sequential = False

    def start(self, plan: SearchPlan) -> Searcher:
        return Qmc(plan)


QMC = QmcKind()
