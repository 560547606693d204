"""Which Ray a service runs its drivers on: one of its own on this machine, or a cluster's."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from automata_svc.blobs.credentials import FILE_VARIABLE as STORE_CREDENTIALS
from automata_svc.blobs.credentials import write_credentials
from automata_svc.errors import AutomataError, Unavailable
from automata_svc.jobs.launch import Launcher, RayJobs, ray_jobs
from automata_svc.jobs.saying import SaidOnce
from automata_svc.jobs.tokens import write_secret

if TYPE_CHECKING:
    from automata_svc.jobs.local_ray import LocalRay
    from automata_svc.settings import Settings

_log = logging.getLogger("automata.ray")

AGAIN_S = 10.0  # before another try to start one that did not
SILENT_S = 60.0  # guess: one that runs and answers nothing for so long is started anew


class ClusterRay:
    """A cluster that somebody else looks after."""

    def __init__(self, jobs: RayJobs) -> None:
        self._jobs = jobs

    def launcher(self) -> Launcher:
        return self._jobs

    def lost(self) -> None:
        """Its operator will know."""


class OwnRay:
    """The service's own: found again, or started in the background; again, when it dies."""

    def __init__(self, ray: LocalRay) -> None:
        self._ray = ray
        self._lock = threading.Lock()
        self._jobs: RayJobs | None = None
        self._starting: threading.Thread | None = None
        self._said = "it is being started"
        self._words = SaidOnce(_log)
        self._tried = float("-inf")
        self._silent_since: float | None = None
        self._over = False

    @property
    def dashboard(self) -> str | None:
        """Where its dashboard is, once it runs."""
        place = self._ray.place
        return None if place is None else place.dashboard

    def launcher(self) -> Launcher:
        with self._lock:
            is_busy = self._starting is not None and self._starting.is_alive()
            if self._jobs is not None and not is_busy:
                if self._is_well():
                    return self._jobs
                _log.warning("the service's Ray has died; starts another one")
                self._jobs = None
            if not is_busy and not self._over and time.monotonic() - self._tried >= AGAIN_S:
                self._starting = threading.Thread(
                    target=self._start, name="automata-ray", daemon=True
                )
                self._starting.start()
        raise Unavailable(self._said)

    def lost(self) -> None:
        with self._lock:
            if self._silent_since is None:
                self._silent_since = time.monotonic()

    def wait(self, for_s: float) -> bool:
        """Whether it runs by then."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            try:
                self.launcher()
                return True
            except Unavailable:
                time.sleep(0.1)
        return False

    def stop(self) -> None:
        """Ends it, with every driver and worker on it."""
        with self._lock:
            self._over = True
            starting = self._starting
        if starting is not None:
            starting.join()
        self._ray.stop()
        self._jobs = None

    def _is_well(self) -> bool:
        if not self._ray.is_alive():
            return False
        since = self._silent_since
        if since is None or self._jobs is None:
            return True
        try:
            self._jobs.nodes()
        except Unavailable:
            return time.monotonic() - since < SILENT_S
        self._silent_since = None
        return True

    def _start(self) -> None:
        self._tried = time.monotonic()
        try:
            found = self._ray.find()
            if found is None:
                self._said = "it is being started"
                found = self._ray.start()
                _log.info("Ray runs; its dashboard: %s", self.dashboard)
            else:
                _log.info("found Ray of an earlier run; its dashboard: %s", self.dashboard)
            self._words.works()
            self._silent_since = None
            self._jobs = found
            self._tried = float("-inf")  # where it dies, the next one is started at once
        except AutomataError as error:
            self._said = str(error)
            self._words.waits(error)
        except Exception as error:
            self._said = f"{type(error).__name__}: {error}"
            _log.exception("the service's Ray does not start")


def rays_of(
    settings: Settings, env: Mapping[str, str] | None = None, cpus: int | None = None
) -> ClusterRay | OwnRay:
    """The Ray that the settings name: RAY_ADDRESS, or one of the service's own.

    Raises:
        AutomataError: the address is none.
        Unavailable: the home cannot be written.
    """
    env = os.environ if env is None else env
    service = identity(settings)
    if settings.ray_address is not None:
        # A cluster's nodes have what drivers need in their own environment.
        return ClusterRay(ray_jobs(settings.ray_address, service, {}, env))
    from automata_svc.jobs.local_ray import LocalRay

    environment = driver_environment(settings, env)
    return OwnRay(LocalRay(settings.home, service, environment, cpus, env=env))


def driver_environment(settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """What a driver on this machine is told: places, and the names of files with secrets (0600)."""
    folder = settings.home / "service"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = folder / "database-url"
    write_secret(database, settings.database_url)
    told = {
        "AUTOMATA_HOME": str(settings.home),
        "AUTOMATA_DATABASE_URL_FILE": str(database),
        "AUTOMATA_STORE_URL": settings.store_url,
    }
    credentials = folder / "store-credentials"
    if settings.store_url.startswith("s3:") and write_credentials(credentials, env):
        told[STORE_CREDENTIALS] = str(credentials)
    for name in (
        "AUTOMATA_DATA_DIRS", "AUTOMATA_TEMPLATE_DIRS", "AUTOMATA_SECRETS_DIR",
        "AUTOMATA_CACHE_BYTES",
    ):  # fmt: skip
        if env.get(name):
            told[name] = env[name]
    return told


def identity(settings: Settings) -> str:
    """What tells a service's drivers from another's on one cluster: a digest of its database."""
    parts = urlsplit(settings.database_url)
    place = f"{parts.scheme}://{parts.hostname or ''}:{parts.port or ''}{parts.path}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]
