"""One builder per name, also when builders fail, are killed, or sleep too long."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from automata_svc.blobs import BlobStore, held_if_free, leases, open_store, single_flight
from automata_svc.blobs.leases import Flight
from automata_svc.errors import NotFound


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_store((tmp_path / "blobs").as_uri())


def read(store: BlobStore) -> str | None:
    try:
        return store.get("thing").decode()
    except NotFound:
        return None


class Clock:
    """Hands that sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def fly(
    store: BlobStore, text: str = "built", clock: Clock | None = None, ttl_s: float = 10.0
) -> Flight[str]:
    clock = clock or Clock()

    def build() -> str:
        store.put("thing", text.encode())
        return text

    return single_flight(
        store,
        "thing",
        build,
        lambda: read(store),
        ttl_s=ttl_s,
        poll_s=0.1,
        monotonic=clock,
        wall=clock,
        sleep=clock.sleep,
    )


def lease(store: BlobStore, number: int, *, at: float, released: bool = False) -> None:
    body = {"beat": f"b{number}-{at}", "at": at, "released": released, "pid": 1}
    store.put(f"leases/thing/{number:08d}", json.dumps(body).encode())


def test_what_is_stored_is_read_without_a_lease(store: BlobStore) -> None:
    store.put("thing", b"there")
    assert fly(store) == Flight("there", built=False, waited_s=0.0)
    assert store.keys("leases") == []


def test_what_is_not_stored_is_built_and_the_lease_is_free_again(store: BlobStore) -> None:
    assert fly(store).built
    store.delete("thing")
    clock = Clock()
    assert fly(store, "again", clock) == Flight("again", built=True, waited_s=0.0)
    assert clock.now == 1_000.0  # nobody waited for the released lease


def test_a_builder_that_fails_frees_the_lease_for_the_next(store: BlobStore) -> None:
    def fail() -> str:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        single_flight(store, "thing", fail, lambda: read(store))
    clock = Clock()
    assert fly(store, clock=clock).built
    assert clock.now == 1_000.0


def test_a_silent_lease_is_waited_for_as_long_as_it_may_be_silent(store: BlobStore) -> None:
    clock = Clock()
    lease(store, 0, at=clock.now)
    flight = fly(store, clock=clock, ttl_s=10.0)
    assert flight.built
    assert 10.0 <= flight.waited_s <= 11.0


def test_a_builder_with_another_clock_is_not_robbed_while_it_beats(store: BlobStore) -> None:
    clock = Clock()
    beats = []

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if len(beats) < 60:
            beats.append(clock.now)
            lease(store, 0, at=clock.now - 200.0)  # its wall clock is minutes behind ours
        elif read(store) is None:
            store.put("thing", b"theirs")

    lease(store, 0, at=clock.now - 200.0)
    flight = single_flight(
        store,
        "thing",
        lambda: pytest.fail("built twice"),
        lambda: read(store),
        ttl_s=10.0,
        poll_s=0.1,
        monotonic=clock,
        wall=clock,
        sleep=sleep,
    )
    assert flight.value == "theirs" and not flight.built
    assert flight.waited_s > 30.0


def test_a_lease_from_long_ago_is_taken_at_once(store: BlobStore) -> None:
    clock = Clock()
    lease(store, 3, at=clock.now - 500.0)
    assert fly(store, clock=clock, ttl_s=10.0).built
    assert clock.now == 1_000.0
    assert store.keys("leases") == ["leases/thing/00000004"]


def test_a_lease_torn_by_a_power_cut_is_taken(store: BlobStore) -> None:
    store.put("leases/thing/00000000", b"")
    assert fly(store).built


def test_who_slept_between_looking_and_taking_does_not_take(store: BlobStore) -> None:
    lease(store, 0, at=0.0)
    seen = leases._newest(store, "thing")
    lease(store, 2, at=1_000.0)  # 1 was taken and given back, 2 is being built under
    store.delete("leases/thing/00000000")
    assert not leases._take(store, "thing", seen, Clock())
    assert store.keys("leases") == ["leases/thing/00000002"]


def test_while_it_builds_the_lease_beats(store: BlobStore) -> None:
    seen = set()

    def build() -> str:
        end = time.monotonic() + 5.0
        while len(seen) < 4 and time.monotonic() < end:
            seen.add(store.get("leases/thing/00000000"))
            time.sleep(0.005)
        return "built"

    single_flight(store, "thing", build, lambda: None, ttl_s=0.1)
    assert len(seen) >= 4


def test_many_threads_ask_and_one_builds(store: BlobStore) -> None:
    start, built, got = threading.Barrier(6), [], []

    def build() -> str:
        built.append(1)
        time.sleep(0.1)
        store.put("thing", b"one")
        return "one"

    def ask() -> None:
        start.wait()
        flight = single_flight(store, "thing", build, lambda: read(store), poll_s=0.01)
        got.append(flight.value)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(built), got) == (1, ["one"] * 6)


def test_a_killed_builders_lease_is_taken_over(store: BlobStore) -> None:
    code = (
        "import sys, time\n"
        "from automata_svc.blobs import open_store, single_flight\n"
        "def build():\n"
        "    print('building', flush=True)\n"
        "    time.sleep(60)\n"
        "single_flight(open_store(sys.argv[1]), 'thing', build, lambda: None, ttl_s=1.0)\n"
    )
    builder = subprocess.Popen([sys.executable, "-c", code, store.url], stdout=subprocess.PIPE)
    assert builder.stdout is not None
    assert builder.stdout.readline() == b"building\n"
    builder.send_signal(signal.SIGKILL)
    builder.communicate()

    def build() -> str:
        store.put("thing", b"mine")
        return "mine"

    flight = single_flight(store, "thing", build, lambda: read(store), ttl_s=1.0)
    assert flight.built and flight.value == "mine" and flight.waited_s > 0


def test_a_free_lease_is_held_for_the_block_and_free_again_after_it(store: BlobStore) -> None:
    with held_if_free(store, "thing") as first:
        assert first is not None and first()
        with held_if_free(store, "thing") as second:
            assert second is None  # and nobody waited
    with held_if_free(store, "thing") as again:
        assert again is not None
    assert fly(store).built


def test_who_holds_a_lease_without_waiting_keeps_builders_out(store: BlobStore) -> None:
    clock, seen = Clock(), []
    with held_if_free(store, "thing", wall=clock) as held:
        assert held is not None

        def sleep(seconds: float) -> None:
            seen.append(seconds)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            single_flight(store, "thing", lambda: "x", lambda: read(store), wall=clock, sleep=sleep)
    assert len(seen) == 1


def test_the_lease_of_somebody_who_may_only_be_slow_is_left_alone(store: BlobStore) -> None:
    clock = Clock()
    lease(store, 0, at=clock.now - 299.0)
    with held_if_free(store, "thing", wall=clock) as held:
        assert held is None
    lease(store, 0, at=clock.now - 301.0)
    with held_if_free(store, "thing", wall=clock) as held:
        assert held is not None


def test_who_takes_long_under_a_lease_is_told_that_it_may_be_lost(store: BlobStore) -> None:
    clock = Clock()
    with held_if_free(store, "thing", ttl_s=10.0, monotonic=clock) as held:
        assert held is not None and held()
        clock.now += 5.0
        assert not held()
