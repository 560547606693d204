"""The connection to Ray: a private one that is started and ended, or one that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from automata_svc.errors import AutomataError
from automata_svc.tuning.runners.ray_settings import ENVIRONMENT, PRELOADED, SPARED, RaySettings
from automata_svc.tuning.runners.scratch import Scratch


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
        self._folder: Scratch | None = None

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
                self._folder.close()
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
        with quiet(), _sparing() if spare else contextlib.nullcontext():
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
        self._folder = Scratch("ray-", base)
        return {
            "num_cpus": self.settings.cpus or len(os.sched_getaffinity(0)),
            "num_gpus": self.settings.gpus,
            "include_dashboard": self.settings.dashboard,
            # Ray lets everybody write to its folder, sockets and all; nobody else gets into ours.
            "_temp_dir": str(self._folder.path / "r"),
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


def resources() -> str:
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return f"all together have {total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
