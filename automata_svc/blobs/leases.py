"""At most one builder per name, across processes and machines: leases kept as blobs.

A lease is a row of generations, `leases/<name>/00000000`, `…1`, …: taking it is creating the next
one with `if_absent`, which one process wins on every backend. Its holder rewrites its generation
now and then (a new beat); a generation that stays as it is for `ttl_s` is dead, and the next one is
free to take. The highest generation is never deleted, so that a process that slept between looking
and taking cannot reuse a number. Somebody who is slower than `ttl_s` may find himself taken over,
so what is built must be safe to build twice (ours is written by content or under its digest).
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from automata_svc.blobs.store import BlobStore
from automata_svc.errors import AutomataError, NotFound

T = TypeVar("T")

_log = logging.getLogger(__name__)

TTL_S = 10.0  # guess: longer than any pause of a healthy process, short enough to wait for
BEATS_PER_TTL = 4  # three may be lost before a lease looks dead
POLL_S = 0.05  # guess: far below what is built (seconds), far above a read (0.1 ms)
POLL_GROWTH, POLL_MAX_S = 1.5, 1.0  # guess: a bucket bills each look, and long builds can wait
LONG_DEAD = 30.0  # × ttl_s on the wall clock: dead without watching (clocks differ by less)


@dataclass(frozen=True)
class Flight(Generic[T]):
    """What `single_flight` came back with."""

    value: T
    built: bool  # by this call; False: it was there, or somebody else built it
    waited_s: float  # seconds spent waiting for another builder


def single_flight(
    store: BlobStore,
    name: str,
    build: Callable[[], T],
    read: Callable[[], T | None],
    *,
    ttl_s: float = TTL_S,
    poll_s: float = POLL_S,
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Flight[T]:
    """Read what is stored, or build it while all others of that name wait for it.

    Args:
        name: what is built; a blob key.
        build: makes it *and stores it* so that `read` finds it, here and in other processes.
        read: what is stored, None where it is not (or not whole).
        ttl_s: seconds without a sign of life after which a builder counts as dead; > 0. It is
            renewed by a thread for as long as `build` runs.
        poll_s: seconds to the second look while somebody else builds, > 0; later ones are rarer.
        monotonic, wall, sleep: the clocks, for tests.

    Raises:
        Whatever `build` raises; the lease is free again then, and the next one in line tries.
    """
    started, pause_s = monotonic(), poll_s
    waiting: _Watched | None = None
    while True:
        stored = read()
        if stored is not None:
            return Flight(stored, False, monotonic() - started if waiting else 0.0)
        newest = _newest(store, name)
        if newest is None or newest.released:
            free = True
        else:
            if waiting is None or waiting.lease != newest:
                waiting = _Watched(newest, monotonic())
            silent_s = monotonic() - waiting.since
            free = silent_s >= ttl_s or wall() - newest.beat_at >= LONG_DEAD * ttl_s
        if free and _take(store, name, newest, wall):
            waited_s = monotonic() - started
            number = 0 if newest is None else newest.number + 1
            with _held(store, name, number, ttl_s, wall):
                stored = read()  # finished between our look and our lease
                if stored is not None:
                    return Flight(stored, False, waited_s)
                return Flight(build(), True, waited_s)
        if not free:
            sleep(pause_s)
            pause_s = max(poll_s, min(pause_s * POLL_GROWTH, POLL_MAX_S))


@contextmanager
def held_if_free(
    store: BlobStore,
    name: str,
    *,
    ttl_s: float = TTL_S,
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> Iterator[Callable[[], bool] | None]:
    """The lease of `name` for the length of the block, if nobody holds it; waits for nobody.

    Gives None where somebody does (or died holding it, not long ago), else a function that says
    whether the lease is surely still ours: whoever takes things away asks it before each step.
    """
    newest = _newest(store, name)
    long_dead = newest is not None and wall() - newest.beat_at >= LONG_DEAD * ttl_s
    is_free = newest is None or newest.released or long_dead
    began = monotonic()
    if not is_free or not _take(store, name, newest, wall):
        yield None
        return
    number = 0 if newest is None else newest.number + 1
    with _held(store, name, number, ttl_s, wall):
        # Not renewed in the reckoning: what is done under it takes far less than its life.
        yield lambda: monotonic() - began < ttl_s / 2


@dataclass(frozen=True)
class _Lease:
    number: int  # generation
    beat: str  # new with each sign of life
    beat_at: float  # wall clock of its holder, seconds
    released: bool


@dataclass(frozen=True)
class _Watched:
    lease: _Lease
    since: float  # our monotonic clock when it was first seen like this


def _folder(name: str) -> str:
    return f"leases/{name}"


def _newest(store: BlobStore, name: str) -> _Lease | None:
    keys = store.keys(_folder(name))
    while keys:
        key = keys.pop()
        number = int(key.rpartition("/")[2])
        try:
            body = json.loads(store.get(key))
            return _Lease(number, str(body["beat"]), float(body["at"]), bool(body["released"]))
        except NotFound:
            continue  # an old generation, cleaned away by a newer one
        except (ValueError, KeyError, TypeError):
            return _Lease(number, "", 0.0, True)  # torn by a power cut: its holder is gone
    return None


def _take(store: BlobStore, name: str, newest: _Lease | None, wall: Callable[[], float]) -> bool:
    number = 0 if newest is None else newest.number + 1
    if not store.put(_key(name, number), _body(wall, released=False), if_absent=True):
        return False
    now = _newest(store, name)
    if now is None or now.number == number:
        return True
    store.delete(_key(name, number))  # we slept: it was taken, and cleaned away by a newer one
    return False


@contextmanager
def _held(
    store: BlobStore, name: str, number: int, ttl_s: float, wall: Callable[[], float]
) -> Iterator[None]:
    """Keep generation `number` alive for the length of the block, then free it."""
    key, over = _key(name, number), threading.Event()

    def beat() -> None:
        while not over.wait(ttl_s / BEATS_PER_TTL):
            try:
                store.put(key, _body(wall, released=False))
            except AutomataError:
                continue  # a store that is away for a moment; too long, and we are taken over

    for old in store.keys(_folder(name)):
        if old < key:
            store.delete(old)
    thread = threading.Thread(target=beat, name=f"lease-{name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        try:
            store.put(key, _body(wall, released=True))
        except AutomataError as error:  # must not hide what the block ended with
            _log.warning("lease '%s' is not released, it ends by itself: %s", name, error)


def _key(name: str, number: int) -> str:
    return f"{_folder(name)}/{number:08d}"


def _body(wall: Callable[[], float], *, released: bool) -> bytes:
    beat = uuid.uuid4().hex
    return json.dumps(
        {"beat": beat, "at": wall(), "released": released, "pid": os.getpid()}
    ).encode()
