"""Carries a job's orders out through Ray Tune. Beside `ray_head.py` the only file that imports Ray.

One Ray trial is one segment of ours and always ends in STOP: a promotion or a retry starts a new
Ray trial from our own checkpoint. Tune gets a search algorithm that hands out the engine's orders,
a scheduler that hands the engine every report and passes its answer on, and a class Trainable whose
workers are kept from segment to segment. Tune keeps no results and no state: the event log does.

What it leans on was measured on ray 2.60; where that is not in Ray's documentation, it says so.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.air.execution.resources.fixed import FixedResourceManager
from ray.exceptions import RayActorError, RayError
from ray.train._internal.storage import StorageContext
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.registry import register_trainable
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm

from automata_svc.datasets.types import Dataset, Split
from automata_svc.errors import AutomataError, Problem, SpecError
from automata_svc.trials.types import Report, SegmentOrder
from automata_svc.tuning.inputs import Reported, SegmentFailed
from automata_svc.tuning.runners.ray_kit import Kit, Unpacked, WorkerProgram
from automata_svc.tuning.runners.ray_segment import (
    Alive,
    Ended,
    Printed,
    Prints,
    Said,
    SegmentThread,
    word_interval,
)
from automata_svc.tuning.runners.ray_settings import ENVIRONMENT, PRELOADED, SPARED, RaySettings

if TYPE_CHECKING:
    from automata_svc.selection.types import Arrays
    from automata_svc.tuning.engine import Engine
    from automata_svc.tuning.plan import SearchPlan

POLL_S = 1.0  # user commands are acted on within this
IDLE_S = 0.05  # guess: nothing runs and nothing is ordered (all slots were taken away)
WAIT_FOR_OWN_WORKER_S = 10.0  # guess: a worker on its way up (2 to 5 s) is not given up before
STARTS = 3  # guess: times an order is handed to workers that die before they begin it
FORGET_AFTER = 256  # guess: Ray trials (some 10 KB each) that Tune may remember
UNLIMITED = 1e9  # of each resource: the engine's slots are the limit, and Ray the one who waits


class RayHost:
    """The connection to Ray: started once, from any thread; ends what it has started.

    Ray's processes are tied to the thread that started them, not to the process (Linux sends their
    death signal when that *thread* ends), so it is one of ours that lives until `stop`.
    """

    def __init__(self, settings: RaySettings | None = None) -> None:
        self.settings = settings or RaySettings()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._over = threading.Event()
        self._owned = False
        self._error: BaseException | None = None
        self._folder: Path | None = None

    def prewarm(self) -> None:
        """Starts Ray and its first workers in the background; `start` waits for what is missing."""
        with self._lock:
            if self._thread is None:
                self._ready.clear()
                self._over.clear()
                self._error = None
                self._thread = threading.Thread(target=self._hold, name="ray-host", daemon=True)
                self._thread.start()

    def start(self) -> None:
        """Connects, or starts a private Ray (measured: 2 to 3 s). A Ray that is there is used."""
        self.prewarm()
        self._ready.wait()
        if self._error is not None:
            raise AutomataError(f"Ray did not start: {self._error}") from self._error

    def stop(self) -> None:
        """Ends what `start` has started: nothing of it runs on. Another's Ray is left alone."""
        with self._lock:
            if self._thread is None:
                return
            self._ready.wait()
            if self._owned:
                self._owned = False
                ray.shutdown(wait_for_processes=True)
            self._over.set()
            self._thread.join()
            self._thread = None
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def _hold(self) -> None:
        try:
            if not ray.is_initialized():
                self._connect()
                self._owned = True
        except BaseException as error:  # raised in `start`
            self._error = error
        finally:
            self._ready.set()
        self._over.wait()

    def _connect(self) -> None:
        private = self.settings.address == "local"
        if private:
            for name, value in ENVIRONMENT.items():
                os.environ.setdefault(name, value)
        spare = private and not self.settings.dashboard
        with _quiet(), _sparing() if spare else contextlib.nullcontext():
            ray.init(
                address=self.settings.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                namespace="automata",
                **(self._private() if private else {}),
            )
        # Ray would print the raylet's remarks on a lost worker into stdout, amid our own output.
        ray._private.worker._worker_logs_enabled = False

    def _private(self) -> dict[str, Any]:
        base = self.settings.temp_dir or Path(os.environ.get("RAY_TMPDIR") or "/tmp")
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir=base))
        return {
            "num_cpus": self.settings.cpus or len(os.sched_getaffinity(0)),
            "num_gpus": self.settings.gpus,
            "include_dashboard": self.settings.dashboard,
            "_temp_dir": str(self._folder),
            "_system_config": {"preload_python_modules": list(PRELOADED)},
        }


@contextlib.contextmanager
def _sparing() -> Iterator[None]:
    """While Ray starts: without the processes that a private one does without."""
    node = ray._private.node.Node
    kept = {name: getattr(node, name) for name in SPARED}
    for name in SPARED:
        setattr(node, name, lambda self, **arguments: None)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(node, name, method)


def slots(cpus: float, gpus: float) -> int:
    """How many workers of this size the connected Ray has room for, each on one node."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return sum(_fit(node["Resources"], cpus, gpus) for node in nodes if node["Alive"])


def _fit(has: Mapping[str, float], cpus: float, gpus: float) -> int:
    rooms = [has.get(name, 0.0) / asks for name, asks in (("CPU", cpus), ("GPU", gpus)) if asks > 0]
    return int(min(rooms, default=0.0) + 1e-9)


def _has() -> str:
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return f"all together have {total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs"


class RayRunner:
    """Carries an engine's orders out on Ray's workers.

    Args:
        program: what a worker does with an order; `TemplateProgram` but in tests.
        dataset: its training and validation rows go into shared memory when `run` starts; its test
            rows only when an order of phase "test" comes.
        load_artefact: the arrays of a strategy's model-free part by its key; called once for a key.
        host: the connection to Ray, perhaps already warming; None: a private one.
        poll: called about once a second from `run`'s loop; what it raises ends the run.
        prints: given what a trial's program prints, from `run`'s loop; None: that is the program's
            own affair.
        hand_out: gives the order that a worker gets; it adds what is good for a while only.
    """

    name = "ray"

    def __init__(
        self,
        program: WorkerProgram,
        dataset: Dataset,
        *,
        load_artefact: Callable[[str], Arrays] | None = None,
        host: RayHost | None = None,
        poll: Callable[[], None] = lambda: None,
        prints: Callable[[int, str], None] | None = None,
        hand_out: Callable[[SegmentOrder], SegmentOrder] = lambda order: order,
    ) -> None:
        self._program = program
        self._dataset = dataset
        self._load_artefact = load_artefact
        self.host = host or RayHost()
        self._poll = poll
        self._prints = prints
        self._hand_out = hand_out

    def slots(self, plan: SearchPlan) -> int:
        """The slots that this Ray has for a job, capped by its parallelism.

        Raises:
            SpecError: not even one trial fits.
        """
        self.host.start()
        room = slots(plan.cpus, plan.gpus)
        if room == 0:
            asked = f"{plan.cpus:g} CPUs and {plan.gpus:g} GPUs"
            raise SpecError(
                Problem(
                    "trial.resources", f"a trial asks for {asked}; no machine has that: {_has()}"
                )
            )
        return room if plan.parallelism is None else min(room, plan.parallelism)

    def run(self, engine: Engine) -> None:
        """Blocks until the engine is finished; then, whatever happened, nothing of it runs on.

        Raises:
            KeyboardInterrupt: again, when everything has ended.
            Exception: what `poll`, the engine's log or Ray raised.
        """
        try:
            self.host.start()
            with _quiet(), tempfile.TemporaryDirectory(prefix="automata-tune-") as folder:
                cargo, settings = self._cargo(engine.plan), self.host.settings
                carrier = _Carrier(engine, cargo, folder, settings, self._prints, self._hand_out)
                try:
                    self._loop(engine, carrier)
                finally:
                    carrier.kill_all()
        finally:
            self.host.stop()

    def _loop(self, engine: Engine, carrier: _Carrier) -> None:
        polled = -POLL_S
        while not engine.finished:
            now = time.monotonic()
            if now - polled >= POLL_S:
                polled = now
                self._poll()
                carrier.kill_silent(now)
            if not engine.finished and not carrier.step():
                time.sleep(IDLE_S)

    def _cargo(self, plan: SearchPlan) -> _Cargo:
        shape, train, val = self._dataset.shape, self._dataset.train, self._dataset.val
        kit = Kit(self._program, shape, train, val, on_gpu=plan.gpus > 0)
        return _Cargo(ray.put(kit), self._dataset.open_test, self._load_artefact)


class _Cargo:
    """A job's arrays in the object store; each is put once, when it is first asked for."""

    def __init__(
        self,
        kit: Any,
        open_test: Callable[[], Split],
        load_artefact: Callable[[str], Arrays] | None,
    ) -> None:
        self._kit = kit
        self._open_test = open_test
        self._load_artefact = load_artefact
        self._test: Any = None
        self._artefacts: dict[str, Any] = {}

    def of(self, order: SegmentOrder) -> _Refs:
        key = order.strategy.artefact
        return _Refs(
            kit=self._kit,
            artefact=None if key is None else self._artefact(key),
            test=self._test_rows() if order.phase == "test" else None,
        )

    def _artefact(self, key: str) -> Any:
        if key not in self._artefacts:
            if self._load_artefact is None:
                raise AutomataError(
                    f"artefact {key} is ordered, and the runner has no way to load it"
                )
            self._artefacts[key] = ray.put(dict(self._load_artefact(key)))
        return self._artefacts[key]

    def _test_rows(self) -> Any:
        if self._test is None:
            self._test = ray.put(self._open_test())
        return self._test


@dataclass(frozen=True)
class _Refs:
    """Where a segment's arrays lie."""

    kit: Any
    artefact: Any
    test: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> _Refs:
        return self  # Tune copies a trial's configuration; references are not to be copied


@dataclass
class _Running:
    """An order that a Ray trial carries."""

    order: SegmentOrder
    trial: TuneTrial
    heard: float | None = None  # when its worker last said something; None: it has not started
    starts: int = 1


class _Carrier:
    """Tune's controller with our search algorithm and scheduler in it."""

    def __init__(
        self,
        engine: Engine,
        cargo: _Cargo,
        folder: str,
        settings: RaySettings,
        prints: Callable[[int, str], None] | None = None,
        hand_out: Callable[[SegmentOrder], SegmentOrder] = lambda order: order,
    ) -> None:
        self._engine = engine
        self._cargo = cargo
        self._prints = prints
        self._hand_out = hand_out
        self._silent_s = settings.silent_s
        self._waiting: deque[tuple[SegmentOrder, int]] = deque()  # orders, how often handed out
        self._running: dict[str, _Running] = {}  # by Ray trial id
        self._broken: BaseException | None = None
        self._count = 0
        plan = engine.plan
        self._trainable = f"automata-{plan.job}"  # Tune's registry is keyed by name: one a job
        register_trainable(self._trainable, SegmentTrainable)
        self._size = PlacementGroupFactory([{"CPU": plan.cpus, "GPU": plan.gpus}])
        self._storage = StorageContext(storage_path=folder, experiment_dir_name=plan.job)
        self._controller = _Controller(
            search_alg=_Orders(self),
            scheduler=_Answers(self),
            callbacks=[_Starts(self)],
            storage=self._storage,
        )
        self._kept = 0

    # ---- the loop ----------------------------------------------------------------------

    def step(self) -> bool:
        """Hands out what is ordered and handles one event of Ray's; False: nothing runs at all."""
        self._waiting.extend((order, 1) for order in self._engine.take_orders())
        if not self._waiting and not self._running:
            return False
        self._keep_workers()
        self._controller._max_pending_trials = max(1, self._engine.state.slots)
        self._controller.step()  # type: ignore[no-untyped-call]
        if self._broken is not None:
            raise self._broken
        return True

    def _keep_workers(self) -> None:
        """Tune keeps one idle worker; we keep one for each slot, since a new one takes seconds."""
        cache, slots = self._controller._actor_cache, self._engine.state.slots
        if slots != self._kept:
            cache.increase_max(self._size, slots - self._kept)
            self._kept = slots
        surplus = cache.num_cached_objects + len(self._running) - slots
        if surplus > 0 and cache.num_cached_objects:  # slots were taken away: free their resources
            spare = slots - max(0, cache.num_cached_objects - surplus)
            cache.decrease_max(self._size, spare)
            self._controller._cleanup_cached_actors()
            cache.increase_max(self._size, spare)

    # ---- what Tune asks ----------------------------------------------------------------

    def next_trial(self) -> TuneTrial | None:
        while self._waiting:
            order, starts = self._waiting.popleft()
            if not self._engine.wants(order.trial, order.segment):
                continue
            self._count += 1
            trial = TuneTrial(
                self._trainable,
                config={
                    "order": self._hand_out(order),
                    "refs": self._cargo.of(order),
                    "silent_s": self._silent_s,
                    "ships_prints": self._prints is not None,
                },
                trial_id=f"{order.trial}-{order.segment}-{self._count}",
                storage=self._storage,
                placement_group_factory=self._size,
            )
            self._running[trial.trial_id] = _Running(order, trial, starts=starts)
            return trial
        return None

    def started(self, trial: TuneTrial) -> None:
        running = self._running.get(trial.trial_id)
        if running is not None:
            running.heard = time.monotonic()

    def said(self, trial: TuneTrial, said: Said) -> str:
        """One thing that a worker said; CONTINUE or STOP. Nothing may rise into Tune."""
        try:
            return self._said(trial, said)
        except BaseException as error:
            self._broken = error
            return str(TrialScheduler.STOP)

    def _said(self, trial: TuneTrial, said: Said) -> str:
        running = self._running.get(trial.trial_id)
        if running is None or self._broken is not None:
            return str(TrialScheduler.STOP)
        running.heard = time.monotonic()
        if isinstance(said, Printed) and self._prints is not None:
            self._prints(running.order.trial, said.text)
        if isinstance(said, Alive | Printed):
            return str(TrialScheduler.CONTINUE)
        if isinstance(said, Report) and self._engine.report(Reported(said)) == "continue":
            if not said.done:
                return str(TrialScheduler.CONTINUE)
            said = Ended()
        if isinstance(said, Ended):
            said = _ended_early(running.order)
        del self._running[trial.trial_id]
        if isinstance(said, SegmentFailed):
            self._engine.handle(said)
            # A hung thread never leaves its worker; a failed kernel spoils the process's CUDA.
            if said.reason == "silent" or self._engine.plan.gpus > 0:
                self._kill(trial)
                return str(TrialScheduler.CONTINUE)  # Tune finds it dead, and frees its place
        return str(TrialScheduler.STOP)

    def failed(self, trial: TuneTrial, error: BaseException | None) -> None:
        """A worker died, or broke outside the program."""
        running = self._running.pop(trial.trial_id, None)
        if running is None or self._broken is not None:
            return
        order = running.order
        if running.heard is None and running.starts < STARTS and isinstance(error, RayActorError):
            # It died under the segment before this one, or on its way up: nothing of this one ran.
            self._waiting.append((order, running.starts + 1))
            return
        try:
            detail = f"{error}".strip() or "its process ended without a word"
            self._engine.handle(
                SegmentFailed(order.trial, order.segment, "worker lost", detail, retry=True)
            )
        except BaseException as broken:
            self._broken = broken

    # ---- ending workers ----------------------------------------------------------------

    def kill_silent(self, now: float) -> None:
        """For a worker that does not even say it is alive (one call holds all of its Python)."""
        limit = self._silent_s + 2 * word_interval(self._silent_s)
        for running in list(self._running.values()):
            if running.heard is not None and now - running.heard > limit:
                del self._running[running.trial.trial_id]
                detail = f"its worker said nothing for {limit:g} s"
                self._engine.handle(
                    SegmentFailed(
                        running.order.trial, running.order.segment, "silent", detail, retry=True
                    )
                )
                self._kill(running.trial)

    def kill_all(self) -> None:
        """Ends every worker at once, whatever it does."""
        manager = self._controller._actor_manager
        for actor, _ in list(manager._live_actors_to_ray_actors_resources.values()):
            with contextlib.suppress(RayError):  # Ray itself is gone, and its workers with it
                ray.kill(actor)
        self._running.clear()

    def _kill(self, trial: TuneTrial) -> None:
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            ray.kill(actor)


def _ended_early(order: SegmentOrder) -> SegmentFailed:
    detail = "train() returned before its segment was over"
    return SegmentFailed(order.trial, order.segment, "error", detail, retry=False)


class _Orders(SearchAlgorithm):
    """Tune's view of the engine's orders. It never ends: our loop does."""

    def __init__(self, carrier: _Carrier) -> None:
        self._carrier = carrier

    def next_trial(self) -> TuneTrial | None:
        return self._carrier.next_trial()

    def is_finished(self) -> bool:
        return False


class _Answers(TrialScheduler):
    """Tune's view of the engine's answers."""

    def __init__(self, carrier: _Carrier) -> None:
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


class _Starts(tune.Callback):
    """Tune's word that a worker has begun a segment."""

    def __init__(self, carrier: _Carrier) -> None:
        self._carrier = carrier

    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        self._carrier.started(trial)


class _Controller(TuneController):
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


SAID = "said"


class SegmentTrainable(tune.Trainable):
    """A worker: one segment after the other in one process, each in a thread of its own."""

    def setup(self, config: dict[str, Any]) -> None:
        self._unpacked: tuple[Any, Unpacked] | None = None
        self._segment: SegmentThread | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._leave()
        return True

    def step(self) -> dict[str, Any]:
        # Only begun here: a worker that dies before has not touched the segment.
        if self._segment is None:
            self._segment = self._begin(self.config)
        return {SAID: self._segment.next()}

    def cleanup(self) -> None:
        self._leave()

    def _setup_logdir(self) -> None:
        """None is needed, and the working directory stays what it is."""

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}  # Tune would send the whole configuration back with each report

    def _begin(self, config: dict[str, Any]) -> SegmentThread:
        order: SegmentOrder = config["order"]
        refs: _Refs = config["refs"]
        prints = Prints()

        def program(send: Any) -> None:  # in the thread, so that its errors are the segment's
            artefact = None if refs.artefact is None else ray.get(refs.artefact)
            test = None if refs.test is None else ray.get(refs.test)
            with contextlib.ExitStack() as stack:
                if config["ships_prints"]:
                    stack.enter_context(contextlib.redirect_stdout(prints))
                    stack.enter_context(contextlib.redirect_stderr(prints))
                self._kit(refs.kit).run(order, artefact, test, send)

        return SegmentThread(order, program, config["silent_s"], prints)

    def _kit(self, ref: Any) -> Unpacked:
        if self._unpacked is None or self._unpacked[0] != ref:
            self._unpacked = (ref, Unpacked(ray.get(ref)))
        return self._unpacked[1]

    def _leave(self) -> None:
        """The thread before ends, or the process does: two segments never share one."""
        if self._segment is not None and not self._segment.stop():
            os._exit(1)
        self._segment = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What Tune would tell the user, the event log tells better."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.air")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
