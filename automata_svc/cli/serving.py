"""A service as one process: its API, its controller, and what else looks after its jobs."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from automata_svc.errors import Conflict, Unavailable
from automata_svc.settings import Settings

if TYPE_CHECKING:
    from automata_svc.api.world import ServiceWorld
    from automata_svc.jobs.addresses import AddressPolicy
    from automata_svc.jobs.controller import Policy
    from automata_svc.jobs.local import LocalService
    from automata_svc.jobs.placement import Placement
    from automata_svc.jobs.rays import ClusterRay, OwnRay

ROLES = ("all", "api", "controller")
PORT = 8070
GRACE_S = 10.0  # for requests that are being answered
LEAVE_S = 25.0  # for drivers that are asked to end
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Plan:
    """How `automata serve` was called."""

    host: str = "127.0.0.1"
    port: int | None = None  # None: PORT; where that is taken, the last one, or a free one
    role: str = "all"
    cpus: int | None = None  # of the service's own Ray; None: this process's share of the machine
    keep_ray: bool = False  # drivers go on while nobody serves
    recycle_after: int | None = None
    give_up_after: int | None = None


class Serving:
    """One `automata serve`, from its lock to its last thread.

    Args:
        say: told what a user wants to know.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        say: Callable[[str], None],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._settings, self._plan, self._say = settings, plan, say
        self._env = os.environ if env is None else env
        self._stop = threading.Event()
        self._folder = settings.home / "service"

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
            Conflict: another service is at work in this home, or on this port.
            Unavailable: the home, the database or the store cannot be used.
            SpecError: a setting is wrong.
        """
        from automata_svc.jobs.local import LocalService
        from automata_svc.jobs.placement import Placement

        with ExitStack() as stack:
            stack.enter_context(self._signals())
            listening = None
            with usable(self._settings.home):
                self._settings.make_home()
                self._folder.mkdir(exist_ok=True, mode=0o700)
                if self._plan.role != "controller":
                    stack.enter_context(only_one(self._folder / "lock", self._folder / "url"))
            if self._plan.role != "controller":  # before a Ray is started in vain
                # Who looks on waits where a server was, and not where it might come back.
                last, host = self._folder / "port", self._plan.host
                listening = stack.enter_context(listen(host, self._plan.port, _read_port(last)))
                with usable(self._settings.home):
                    last.write_text(f"{listening.getsockname()[1]}\n", encoding="ascii")
            service = LocalService(self._settings)
            service.database, service.store  # noqa: B018  # opened now, so that it is said now
            placement = Placement()
            rays = stack.enter_context(self._rays())
            if rays is None:
                pass  # a controller beside this process has the Ray of this home
            elif self._plan.role == "api":
                self._in_background(lambda: placement.follow(rays, self._stop), "placement")
            else:
                stack.enter_context(self._controller(service, rays, placement))
                stack.enter_context(self._caretakers(service))
            if listening is None:
                self._say("the controller of the service runs; Ctrl-C ends it")
                self._announce_ray(rays)
                self._stop.wait()
                return
            self._serve(service, rays, placement, listening)

    # ---- HTTP -----------------------------------------------------------------------------------

    def _serve(
        self,
        service: LocalService,
        rays: ClusterRay | OwnRay | None,
        placement: Placement,
        listening: socket.socket,
    ) -> None:
        import uvicorn

        from automata_svc.api.app import make_app
        from automata_svc.api.connections import HeadsInTime
        from automata_svc.api.world import ServiceWorld

        world = ServiceWorld.of(self._settings)
        world.hosted.refuses = placement.refuses
        service.database.on_append = world.meters.appends.observe
        world.hosted.webhooks = self._receivers()
        url = url_of(self._plan.host, listening)
        config = uvicorn.Config(
            make_app(world),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(GRACE_S),
            lifespan="on",
            http=HeadsInTime,
        )
        server = uvicorn.Server(config)
        token = self._token(world)
        with published(self._folder / "url", url):
            self._greet(url, token)
            self._announce_ray(rays)
            stopper = self._in_background(lambda: self._end(server, world), "stop")
            # uvicorn's would take the place of ours, and raise the signal again at its end.
            server.capture_signals = _no_signals  # type: ignore[method-assign]
            # What is loaded by now stays to the end. Measured: to look through it took each full
            # collection .11 s, in which nobody is answered.
            gc.collect()
            gc.freeze()
            server.run(sockets=[listening])
            self._stop.set()
            stopper.join(1.0)
        service.database.close()

    def _end(self, server: Any, world: ServiceWorld) -> None:
        """Once it is to stop: streams end, so that nobody waits for them."""
        self._stop.wait()
        world.drain()
        server.should_exit = True

    def _token(self, world: ServiceWorld) -> Path | None:
        """On a machine of its own a service lets its own user in."""
        if self._plan.host not in LOOPBACK:
            return None
        world.tokens.embedded(self._settings.home)
        return self._folder / "token"

    def _greet(self, url: str, token: Path | None) -> None:
        self._say(f"automata serves {url}")
        self._say(f"  state    {self._settings.home}")
        if token is not None:
            self._say(f"  token    {token} (found by `automata` on this machine)")
        else:
            self._say("  tokens   automata token create NAME --scope admin")
        self._say(f"  submit   automata submit job.yaml --server {url}")
        self._say("  Ctrl-C   ends it; jobs go on where they were when it comes back")

    # ---- Ray and the controller -----------------------------------------------------------------

    @contextmanager
    def _rays(self) -> Iterator[ClusterRay | OwnRay | None]:
        from automata_svc.jobs.rays import OwnRay, rays_of

        if self._plan.role == "api" and self._settings.ray_address is None:
            yield None
            return
        rays = rays_of(self._settings, self._env, self._plan.cpus)
        try:
            yield rays
        finally:
            if isinstance(rays, OwnRay) and not self._plan.keep_ray:
                rays.stop()

    def _announce_ray(self, rays: ClusterRay | OwnRay | None) -> None:
        from automata_svc.jobs.rays import OwnRay

        if rays is None:
            return
        if not isinstance(rays, OwnRay):
            self._say(f"  Ray      {self._settings.ray_address}")
            return

        def wait() -> None:
            while not self._stop.is_set():
                if rays.wait(1.0):
                    opens = self._folder / "ray-token"
                    self._say(f"  Ray      {rays.dashboard} (dashboard; its token: {opens})")
                    return

        self._in_background(wait, "announce")

    @contextmanager
    def _controller(
        self, service: LocalService, rays: ClusterRay | OwnRay, placement: Placement
    ) -> Iterator[None]:
        from automata_svc.jobs.controller import Controller
        from automata_svc.jobs.rays import OwnRay

        controller = Controller(service, rays, self._policy(), placement=placement)
        ended = threading.Event()
        thread = self._in_background(lambda: controller.run(ended), "controller")
        try:
            yield
        finally:
            ended.set()
            thread.join(GRACE_S)
            if isinstance(rays, OwnRay) and not self._plan.keep_ray:
                controller.wind_down(LEAVE_S)

    def _policy(self) -> Policy:
        from automata_svc.jobs.controller import MOST_FAULTS, Policy
        from automata_svc.jobs.quotas import read_quotas

        return Policy(
            quotas=read_quotas(self._env),
            recycle_after=self._plan.recycle_after,
            most_faults=self._plan.give_up_after or MOST_FAULTS,
        )

    @contextmanager
    def _caretakers(self, service: LocalService) -> Iterator[None]:
        """What removes what is not kept any longer, and what sends webhooks."""
        from automata_svc.jobs.housekeeping import Housekeeping

        keeping = Housekeeping(service, self._receivers(), self._env)
        keeping.start()
        try:
            yield
        finally:
            keeping.stop()

    def _receivers(self) -> AddressPolicy:
        """Where webhooks may go: to this machine only where nobody else can ask for it."""
        from automata_svc.jobs.webhooks import policy_for

        policy = policy_for(self._settings, self._env)
        return replace(policy, loopback=policy.loopback and self._plan.host in LOOPBACK)

    # ---- below ----------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end it; a second one ends it at once."""

        def asked(number: int, frame: FrameType | None) -> None:
            if self._stop.is_set():
                os._exit(128 + number)
            self._say("ends; once more to end at once")
            self._stop.set()

        before = {n: signal.signal(n, asked) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _in_background(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"automata-{name}", daemon=True)
        thread.start()
        return thread


@contextmanager
def _no_signals() -> Iterator[None]:
    yield


# ---- where it is ---------------------------------------------------------------------------------


@contextmanager
def usable(home: Path) -> Iterator[None]:
    """Says what keeps a home from being written to.

    Raises:
        Unavailable: something does.
    """
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"the home {home} cannot be used: {error.strerror}; name a folder that you may write "
            "to in AUTOMATA_HOME"
        ) from None


@contextmanager
def only_one(lock: Path, url: Path) -> Iterator[None]:
    """Holds a home's lock, which its live server has (`jobs.connecting` asks for it).

    Raises:
        Conflict: another process has it.
    """
    with lock.open("a+", encoding="utf-8") as file:
        if not _lock(file):
            with suppress(OSError):
                where = url.read_text(encoding="utf-8").strip()
                raise Conflict(f"a service is at work in {lock.parent.parent}: {where}")
            raise Conflict(f"a service is at work in {lock.parent.parent}")
        yield


def _lock(file: TextIO) -> bool:
    for _ in range(20):  # whoever asks whether a server lives holds it for a moment
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


@contextmanager
def published(path: Path, url: str) -> Iterator[None]:
    """Says where the home's server is while it is there."""
    half = path.with_suffix(".new")
    half.write_text(url + "\n", encoding="utf-8")
    half.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def listen(host: str, port: int | None, last: int = 0) -> socket.socket:
    """A socket to serve on.

    Args:
        port: None: PORT, or `last` where that is taken, or a free one.

    Raises:
        Conflict: the port is taken.
        Unavailable: the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (PORT, last, 0) if port is None else (port,):
        # The protocol by name: over others asyncio leaves Nagle's delay on, 40 ms an answer.
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, wanted))
            found.listen(2048)
            found.setblocking(False)
            return found
        except OSError as error:
            found.close()
            if port is None and wanted:
                continue
            if "in use" in str(error):
                raise Conflict(f"port {wanted} of {host} is taken; name another: --port") from None
            raise Unavailable(
                f"cannot serve on {host} port {wanted}: {error.strerror}; name an address of this "
                "machine (--host) and a port that you may use (--port)"
            ) from None
    raise Unavailable(f"no port is free on {host}")


def _read_port(path: Path) -> int:
    """The port in a file; 0: there is none."""
    with suppress(OSError, ValueError):
        port = int(path.read_text(encoding="ascii"))
        return port if 0 < port < 2**16 else 0
    return 0


def url_of(host: str, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    shown = "127.0.0.1" if host in ("0.0.0.0", "localhost") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def log_to_stderr(level: int = logging.INFO) -> None:
    """What the service's parts log, with times in UTC."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    for name in ("automata", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level if name == "automata" else logging.WARNING)
