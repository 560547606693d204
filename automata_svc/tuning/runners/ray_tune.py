"""Tune with our search algorithm and our scheduler in it, and without what it would keep itself."""

from __future__ import annotations

import time
from typing import Any, Protocol

import ray
from ray import tune
from ray.air.execution.resources.fixed import FixedResourceManager
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm

from automata_svc.tuning.runners.ray_segment import Said
from automata_svc.tuning.runners.ray_worker import SAID

WAIT_FOR_OWN_WORKER_S = 10.0  # guess: a worker on its way up (2 to 5 s) is not given up before
FORGET_AFTER = 256  # guess: Ray trials (some 10 KB each) that Tune may remember
UNLIMITED = 1e9  # of each resource: the engine's slots are the limit, and Ray the one who waits


class Carrier(Protocol):
    """Who has the orders, and decides."""

    def next_trial(self) -> TuneTrial | None:
        """The next order as a Ray trial."""
        ...

    def started(self, trial: TuneTrial) -> None:
        """Its worker has begun."""
        ...

    def said(self, trial: TuneTrial, said: Said) -> str:
        """CONTINUE or STOP; raises nothing."""
        ...

    def failed(self, trial: TuneTrial, error: BaseException | None) -> None:
        """Its worker is lost."""
        ...


class Orders(SearchAlgorithm):
    """Tune's view of the engine's orders. It never ends: our loop does."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def next_trial(self) -> TuneTrial | None:
        return self._carrier.next_trial()

    def is_finished(self) -> bool:
        return False


class Answers(TrialScheduler):
    """Tune's view of the engine's answers."""

    def __init__(self, carrier: Carrier) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._carrier = carrier

    def on_trial_result(self, controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        return self._carrier.said(trial, result[SAID])

    def on_trial_error(self, controller: Any, trial: TuneTrial) -> None:
        self._carrier.failed(trial, controller.failure)

    def choose_trial_to_run(self, controller: Any) -> TuneTrial | None:
        return None  # whatever is pending starts, in order

    def on_trial_add(self, controller: Any, trial: TuneTrial) -> None:
        """Nothing to prepare."""

    def on_trial_complete(self, controller: Any, trial: TuneTrial, result: Any) -> None:
        """Known already: it was our answer."""

    def on_trial_remove(self, controller: Any, trial: TuneTrial) -> None:
        """Never asked for."""

    def debug_string(self) -> str:
        return "automata"


class Starts(tune.Callback):
    """Tune's word that a worker has begun a segment."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        self._carrier.started(trial)


class Controller(TuneController):
    """Tune's event loop, without what it would write and without what it would throw away."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(
            reuse_actors=True,
            # No placement groups: a worker is one bundle, which Ray reserves just as well itself.
            resource_manager_factory=lambda: FixedResourceManager(
                {"CPU": UNLIMITED, "GPU": UNLIMITED}
            ),
            **arguments,
        )
        self._class_cache = _PlainActors()  # type: ignore[assignment]
        self._print_trial_errors = False
        self._asked: dict[TuneTrial, float] = {}
        self.failure: BaseException | None = None  # of the trial that Tune speaks of now

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Writes nothing, since the event log is the state; forgets trials that are over."""
        if len(self._trials) > FORGET_AFTER + len(self._trial_to_actor):
            over = self._stopped_trials | self._failed_trials
            self._trials = [trial for trial in self._trials if trial not in over]
            self._asked = {trial: at for trial, at in self._asked.items() if trial not in over}
            for place in (self._live_trials, self._trials_to_cache):
                place.difference_update(over)
            self._stopped_trials.clear()
            self._failed_trials.clear()

    def _process_trial_failure(self, trial: TuneTrial, exception: Any) -> None:
        self.failure = exception
        super()._process_trial_failure(trial, exception=exception)

    def _schedule_trial_actor(self, trial: TuneTrial) -> None:
        self._asked[trial] = time.monotonic()
        super()._schedule_trial_actor(trial)

    def _maybe_reuse_cached_actor(self, trial: TuneTrial) -> bool:
        # Tune gives a waiting trial the first free worker, and ends the one that it has asked for:
        # with short segments, workers would start for ever and none would stay.
        has_asked = trial in self._trial_to_actor and trial not in self._resetting_trials
        if has_asked and time.monotonic() - self._asked[trial] < WAIT_FOR_OWN_WORKER_S:
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))


class _PlainActors:
    """Workers without a runtime environment: they are then taken from those Ray has started ahead.

    Tune's own cache asks for environment variables, for which Ray starts each process anew
    (measured: 1.5 s and more a worker); ours are inherited (ENVIRONMENT).
    """

    def __init__(self) -> None:
        self._made: dict[type, Any] = {}

    def get(self, trainable: type) -> Any:
        if trainable not in self._made:
            self._made[trainable] = ray.remote(max_restarts=0, max_task_retries=0)(trainable)
        return self._made[trainable]
