"""Tree-structured Parzen estimator, Optuna's, driven by ask and tell from our own history.

Bergstra et al. 2011. A trial that stands below the last rung is told as pruned there, so that the
estimator ranks by (rung, value): taking values of the highest filled rung alone, as BOHB does,
shows it survivors only, and it then prefers what it knows nothing of (a test plants the optimum).

Optuna cannot be told a trial twice, so the in-memory study is rebuilt as trials climb. It is a
cache of the history and nothing more: what it holds depends on the arrivals alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from automata_svc.selection.types import keyed_rng
from automata_svc.spec.domain import Domain
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.searchers.base import Proposal, Searcher
from automata_svc.tuning.searchers.points import Points
from automata_svc.tuning.searchers.random import Random
from automata_svc.tuning.state import JobState

STARTUP_TRIALS = 10  # Optuna's default
STALE = 1.02  # the study is rebuilt each time the arrivals grow by 2 %: .2 ms a trial and rebuild


class Tpe:
    """Random until `startup_trials` values are in, then the estimator."""

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan
        self._points = Points(plan)
        self._random = Random(plan)
        self._startup = STARTUP_TRIALS if plan.startup_trials is None else plan.startup_trials
        self._study: Any = None
        self._rebuilt = 0  # arrivals up to which trials stand where they had climbed by then
        self._told = 0  # arrivals told; those after `_rebuilt` as they arrived at the first rung

    def propose(self, state: JobState, number: int) -> Proposal:
        if number < len(self._plan.start_points) or len(state.rungs[0]) < max(1, self._startup):
            proposal = self._random.propose(state, number)
            is_start = proposal.origin == "start point"
            return proposal if is_start else Proposal(proposal.params, "tpe startup")
        self._tell(state)
        return Proposal(self._ask(number), "tpe")

    def _tell(self, state: JobState) -> None:
        import optuna

        point = rebuild_point(len(state.arrivals))
        if self._study is None or point != self._rebuilt or self._told > len(state.arrivals):
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            self._study = optuna.create_study(
                direction="maximize" if self._plan.mode == "max" else "minimize"
            )
            climbed: dict[int, tuple[int, float | None]] = {}
            for trial, rung, metric in state.arrivals[:point]:
                climbed[trial] = (rung, metric)
            for trial, (rung, metric) in climbed.items():
                self._add(state, trial, rung, metric)
            self._rebuilt = self._told = point
        for trial, rung, metric in state.arrivals[self._told :]:
            if rung <= 0:
                self._add(state, trial, rung, metric)
        self._told = len(state.arrivals)

    def _add(self, state: JobState, trial: int, rung: int, metric: float | None) -> None:
        import optuna

        done = rung == len(state.plan.rungs) - 1 and metric is not None
        params = state.trials[trial].params
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.PRUNED,
                params=dict(params),
                distributions={n: self._distribution(n) for n in params},
                value=metric,
                intermediate_values={} if metric is None else {rung + 1: metric},
            )
        )

    def _ask(self, number: int) -> Mapping[str, Any]:
        import optuna

        seed = int(keyed_rng(self._plan.seed, number, "tpe").integers(2**31))
        self._study.sampler = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=0,
            multivariate=False,  # conditional parameters
            constant_liar=False,  # asked trials linger in the study; a restart has none of them
        )
        trial = self._study.ask()
        params: dict[str, Any] = {}
        for name in self._points.space.order:
            if self._points.space.is_active(name, params):
                params[name] = _suggest(trial, name, self._points.space.domains[name])
        return params

    def _distribution(self, name: str) -> Any:
        return _distribution(self._points.space.domains[name])


def rebuild_point(arrivals: int) -> int:
    """The arrivals up to which a study of so many holds trials where they had climbed."""
    point = 0
    while (following := max(point + 1, int(point * STALE))) <= arrivals:
        point = following
    return point


def _distribution(domain: Domain) -> Any:
    from optuna import distributions as d

    make: Mapping[str, Callable[[], Any]] = {
        "uniform": lambda: d.FloatDistribution(domain.low, domain.high),
        "loguniform": lambda: d.FloatDistribution(domain.low, domain.high, log=True),
        "randint": lambda: d.IntDistribution(int(domain.low), int(domain.low) + domain.size - 1),
        "quniform": lambda: d.FloatDistribution(domain.low, domain.values[-1], step=domain.step),
        "choice": lambda: d.CategoricalDistribution(domain.values),
    }
    return make[domain.kind]()


def _suggest(trial: Any, name: str, domain: Domain) -> Any:
    return trial._suggest(name, _distribution(domain))


class TpeKind:
    sequential = True

    def start(self, plan: SearchPlan) -> Searcher:
        return Tpe(plan)


TPE = TpeKind()
