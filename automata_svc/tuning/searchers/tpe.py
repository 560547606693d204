"""Tree-structured Parzen estimator, Optuna's, driven by ask and tell from our own history.

Bergstra et al. 2011. The model sees each trial at one level, as BOHB (Falkner et al. 2018,
arXiv:1807.01774) does: the highest rung with enough trials. Optuna cannot be told a trial twice, so
the in-memory study is rebuilt when that level changes; it is a cache of the history, nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from automata_svc.selection.types import keyed_rng
from automata_svc.spec.space import Domain
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.searchers.base import Proposal, Searcher
from automata_svc.tuning.searchers.points import Points
from automata_svc.tuning.searchers.random import Random
from automata_svc.tuning.state import JobState

STARTUP_TRIALS = 10  # Optuna's default


class Tpe:
    """Random until `startup_trials` values are in, then the estimator."""

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan
        self._points = Points(plan)
        self._random = Random(plan)
        self._startup = STARTUP_TRIALS if plan.startup_trials is None else plan.startup_trials
        self._level = -1
        self._told = 0
        self._study: Any = None

    def propose(self, state: JobState, number: int) -> Proposal:
        level = self._level_of(state)
        usable = 0 if level < 0 else len(state.rungs[level])
        if number < len(self._plan.start_points) or usable < max(1, self._startup):
            proposal = self._random.propose(state, number)
            is_start = proposal.origin == "start point"
            return proposal if is_start else Proposal(proposal.params, "tpe startup")
        self._tell(state, level)
        return Proposal(self._ask(number), f"tpe at rung {level + 1}")

    def _level_of(self, state: JobState) -> int:
        enough = max(1, self._startup)
        filled = [rung for rung, ranking in enumerate(state.rungs) if len(ranking) >= enough]
        return max(filled, default=-1)

    def _tell(self, state: JobState, level: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if level != self._level or self._told > len(state.arrivals) or self._study is None:
            direction = "maximize" if self._plan.mode == "max" else "minimize"
            self._study = optuna.create_study(direction=direction)
            self._level, self._told = level, 0
        worst = -math.inf if self._plan.mode == "max" else math.inf
        for trial, rung, metric in state.arrivals[self._told :]:
            if rung == level:
                params = state.trials[trial].params
                self._study.add_trial(
                    optuna.trial.create_trial(
                        params=dict(params),
                        distributions={n: self._distribution(n) for n in params},
                        value=worst if metric is None else metric,
                    )
                )
        self._told = len(state.arrivals)

    def _ask(self, number: int) -> Mapping[str, Any]:
        import optuna

        seed = int(keyed_rng(self._plan.seed, number, "tpe").integers(2**31))
        self._study.sampler = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=0,
            multivariate=False,  # conditional parameters
            constant_liar=False,  # asked trials linger in the study; a restarted one has none of them
        )
        trial = self._study.ask()
        params: dict[str, Any] = {}
        for name in self._points.space.order:
            if self._points.space.is_active(name, params):
                params[name] = _suggest(trial, name, self._points.space.domains[name])
        return params

    def _distribution(self, name: str) -> Any:
        return _distribution(self._points.space.domains[name])


def _distribution(domain: Domain) -> Any:
    from optuna import distributions as d

    return {
        "uniform": lambda: d.FloatDistribution(domain.low, domain.high),
        "loguniform": lambda: d.FloatDistribution(domain.low, domain.high, log=True),
        "randint": lambda: d.IntDistribution(int(domain.low), int(domain.low) + domain.size - 1),
        "quniform": lambda: d.FloatDistribution(domain.low, domain.values[-1], step=domain.step),
        "choice": lambda: d.CategoricalDistribution(domain.values),
    }[domain.kind]()


def _suggest(trial: Any, name: str, domain: Domain) -> Any:
    return trial._suggest(name, _distribution(domain))


class TpeKind:
    sequential = True

    def start(self, plan: SearchPlan) -> Searcher:
        return Tpe(plan)


TPE = TpeKind()
