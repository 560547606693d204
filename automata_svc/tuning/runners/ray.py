"""Carries a job's orders out through Ray Tune.

One Ray trial is one segment of ours and always ends in STOP: a promotion or a retry starts a new
Ray trial from our own checkpoint. Tune gets a search algorithm that hands out the engine's orders,
a scheduler that hands the engine every report and passes its answer on, and a class Trainable whose
workers are kept from segment to segment. Tune keeps no results and no state: the event log does.

Only `ray_host` (the connection), `ray_tune` (Tune's side), `ray_worker` (a worker's), `ray_head` (a
service's own Ray) and this file import Ray. What they lean on was measured on ray 2.60; where that
is not in Ray's documentation, it says so.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.train._internal.storage import StorageContext
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.registry import register_trainable
from ray.tune.schedulers import TrialScheduler

from automata_svc.datasets.types import Dataset, Split
from automata_svc.errors import AutomataError, Problem, SpecError
from automata_svc.trials.types import Report, SegmentOrder
from automata_svc.tuning.inputs import Reported, SegmentFailed
from automata_svc.tuning.runners.ray_host import RayHost, quiet, resources, slots
from automata_svc.tuning.runners.ray_kit import Kit, WorkerProgram
from automata_svc.tuning.runners.ray_segment import Alive, Ended, Printed, Said, word_interval
from automata_svc.tuning.runners.ray_settings import RaySettings
from automata_svc.tuning.runners.ray_tune import Answers, Controller, Orders, Starts
from automata_svc.tuning.runners.ray_worker import Refs, SegmentTrainable
from automata_svc.tuning.runners.scratch import Scratch

if TYPE_CHECKING:
    from automata_svc.selection.types import Arrays
    from automata_svc.tuning.engine import Engine
    from automata_svc.tuning.plan import SearchPlan

POLL_S = 1.0  # user commands are acted on within this
IDLE_S = 0.05  # guess: nothing runs and nothing is ordered (all slots were taken away)
STARTS = 3  # guess: times an order is handed to workers that die before they begin it


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
                    "trial.resources",
                    f"a trial asks for {asked}; no machine has that: {resources()}",
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
            with quiet(), Scratch("automata-tune-") as folder:
                cargo, settings = self._cargo(engine.plan), self.host.settings
                carrier = _Carrier(
                    engine, cargo, str(folder), settings, self._prints, self._hand_out
                )
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

    def of(self, order: SegmentOrder) -> Refs:
        key = order.strategy.artefact
        return Refs(
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
        self._controller = Controller(
            search_alg=Orders(self),
            scheduler=Answers(self),
            callbacks=[Starts(self)],
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
