"""Subsets that nobody uses go, and those that are used never do: builders, users, deleters,
collectors and kills in every order that hypothesis can think of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automata_svc.blobs import leases
from automata_svc.database.store import Database
from automata_svc.errors import NotFound
from automata_svc.jobs.retention import GRACE_S, Collector
from automata_svc.selection import artefacts
from automata_svc.settings import Settings
from tests.jobs.stage import Actor, Stage
from tests.selection.test_artefacts import DATASET, request

LONG = leases.LONG_DEAD * leases.TTL_S + 1
KEYS = 3


class Ledger:
    """Which job uses what: the part of a database that a collector of subsets asks."""

    def __init__(self) -> None:
        self.uses: list[tuple[str, str, str]] = []

    def artefact_uses(self, project: str | None = None) -> list[tuple[str, str, str]]:
        return list(self.uses)

    def list_jobs(self, **wanted: Any) -> list[Any]:
        return []

    def get_job(self, job: str) -> Any:
        raise NotFound(job)

    def list_stale_uploads(self, before: float) -> list[Any]:
        return []

    def unused_bundles(self, unused_s: float) -> list[Any]:
        return []

    def drop_expired_keys(self, dry_run: bool) -> int:
        return 0


class World:
    """Jobs that use subsets and collectors that take them away, on one stage."""

    def __init__(self, folder: Path) -> None:
        self.stage, self.ledger = Stage(folder / "blobs"), Ledger()
        self.settings = Settings.from_env({"AUTOMATA_HOME": str(folder)})
        self.jobs = 0

    def use(self, seed: int) -> None:
        """A driver: finds or builds the subset, then stores that its job uses it."""
        self.jobs += 1
        job = f"job_{self.jobs}"

        def work(actor: Actor) -> None:
            built = artefacts.load_or_build(
                self.stage.store_of(actor), request(seed), DATASET, sleep=self.sleeper(actor)
            )
            actor.stop_before("record")
            self.ledger.uses.append((built.key, job, "default"))

        self.stage.start("use", work)

    def collect(self) -> None:
        def work(actor: Actor) -> None:
            database = cast(Database, self.ledger)
            store = self.stage.store_of(actor)
            list(Collector(database, store, self.settings, owns_store=False).rounds())

        self.stage.start("collect", work)

    def sleeper(self, actor: Actor) -> Any:
        return lambda seconds: actor.stop_before("sleep")

    def forget(self, place: int) -> None:
        """A job is deleted, with what it used."""
        if self.ledger.uses:
            self.ledger.uses.pop(place % len(self.ledger.uses))

    def check(self) -> None:
        """What a job has said that it uses is there, whole."""
        for key in {use[0] for use in self.ledger.uses}:
            artefacts.read_arrays(self.stage.store, key)

    # ---- time -----------------------------------------------------------------------------------

    def pass_time(self) -> None:
        """An hour; nobody takes longer from finding a subset to storing that it is used."""
        if not self.stage.live("use"):
            self.stage.age(GRACE_S + 1)

    def pass_leases(self) -> None:
        """So long that a lease is dead; nobody alive does nothing for as long with one in hand."""
        if all(actor.at == "sleep" for actor in self.stage.live()):
            self.stage.now += LONG

    # ---- a story --------------------------------------------------------------------------------

    def tell(self, script: Sequence[int]) -> None:
        for number in script:
            action, which = number % 10, number // 10
            live = self.stage.live()
            if action <= 5 and live:
                self.advance(live[which % len(live)])
            elif action == 6 and len(live) < 4:
                self.use(which % KEYS)
            elif action == 7 and len(self.stage.live("collect")) < 2:
                self.collect()
            elif action == 8 and which % 2:
                self.forget(which // 2)
            elif action == 8 and live:
                live[which % len(live)].kill()
            elif action == 9:
                self.pass_time() if which % 2 else self.pass_leases()

    def advance(self, actor: Actor) -> None:
        taken = actor.at
        actor.advance()
        if taken.startswith(("delete", "record")):
            self.check()

    def finish(self) -> None:
        """Everybody who lives comes to an end; who waits for a lease waits for those who work."""
        turns = 0
        while live := self.stage.live():
            self.pass_leases()
            awake = [actor for actor in live if actor.at != "sleep"] or live
            self.advance(awake[turns % len(awake)])
            turns += 1
            assert turns < 5_000, [actor.at for actor in live]

    def rounds(self, n: int) -> None:
        for _ in range(n):
            self.stage.age(25 * 3_600.0)
            self.stage.now += LONG
            self.collect()
            self.finish()


@contextmanager
def world(place: Path | None = None) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        one = World(place or Path(folder))
        clocks = {"monotonic": one.stage.clock, "wall": one.stage.clock}
        with (
            patch.object(artefacts, "single_flight", partial(leases.single_flight, **clocks)),
            patch.object(artefacts, "held_if_free", partial(leases.held_if_free, **clocks)),
        ):
            try:
                yield one
            finally:
                for actor in one.stage.live():
                    actor.kill()


def use_then_collect(*between: int) -> list[int]:
    """A use that runs to its end, an hour, and a collector that does."""
    return [6, *[0] * 40, *between, 19, 7, *[0] * 40]


@given(st.lists(st.integers(0, 999), min_size=20, max_size=250))
@settings(max_examples=25)
@example(use_then_collect())
@example([*use_then_collect(18), 19, 7, *[0] * 40])  # used, deleted, condemned, gone
@example([*use_then_collect(18), 6, 7, *[0, 10] * 60])  # found again while it is condemned
@example([6, *[0] * 9, 8, 19, 7, *[0] * 40, 19, 7, *[0] * 40])  # a builder killed half-way
def test_no_order_of_building_using_deleting_collecting_and_kills_takes_what_is_used(
    script: list[int],
) -> None:
    with world() as one:
        one.tell(script)
        one.finish()
        one.rounds(2)
        used = {use[0] for use in one.ledger.uses}
        left = {key.split("/")[1] for key in one.stage.store.keys("subsets")}
        assert used <= left
        one.rounds(2)
        left = {key.split("/")[1] for key in one.stage.store.keys("subsets")}
        assert left == used  # and what nobody uses goes, whatever was killed where
        one.ledger.uses.clear()
        one.rounds(4)
        assert one.stage.store.keys() == []


@pytest.fixture(scope="module")
def condemned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a subset that nobody uses and that the next round takes away."""
    folder = tmp_path_factory.mktemp("condemned")
    with world(folder) as one:
        one.use(0)
        one.finish()
        one.ledger.uses.clear()
        one.rounds(1)
        one.stage.age(GRACE_S + 1)
    return folder


def begun(one: World) -> Actor:
    """A collector that has just seen what is stored and used."""
    one.collect()
    collector = one.stage.live("collect")[-1]
    while collector.at != "list subsets":
        one.advance(collector)
    return collector


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside another collector"])
def test_a_subset_found_at_any_moment_of_its_removal_is_there_when_its_use_is_stored(
    others: int, condemned: Path, tmp_path: Path
) -> None:
    """Every split of the two: the collector's first i steps, the job's first j, then the rest."""
    i = 0
    collector_ends = False
    while not collector_ends:
        j = 0
        user_ends = False
        while not user_ends:
            shutil.rmtree(tmp_path / "blobs", ignore_errors=True)
            shutil.copytree(condemned / "blobs", tmp_path / "blobs")
            with world(tmp_path) as one:
                collector = begun(one)
                for _ in range(i):
                    if not collector.done:
                        one.advance(collector)
                one.use(0)
                (user,) = one.stage.live("use")
                for _ in range(j):
                    if user.at not in ("record", "sleep"):
                        one.advance(user)
                user_ends = user.at in ("record", "sleep")
                collector_ends = collector.done
                for _ in range(others):
                    another = begun(one)
                    while not another.done:
                        one.advance(another)
                while not collector.done:
                    one.advance(collector)
                one.finish()
                one.check()
                assert len(one.ledger.uses) == 1
            j += 1
        i += 1


def test_a_collector_killed_at_each_of_its_steps_is_made_up_for_by_the_next() -> None:
    steps = 0
    while True:
        with world() as one:
            one.use(0)
            one.use(1)
            one.finish()
            one.ledger.uses.pop()
            one.rounds(1)  # condemns the one that nobody uses
            one.stage.age(GRACE_S + 1)
            one.collect()
            (collector,) = one.stage.live()
            for _ in range(steps):
                one.advance(collector)
                if collector.done:
                    break
            else:
                collector.kill()
            one.rounds(2)
            assert {key.split("/")[1] for key in one.stage.store.keys("subsets")} == {
                one.ledger.uses[0][0]
            }
            if collector.done:
                return
        steps += 1


def test_a_subset_that_was_found_and_not_yet_said_to_be_used_survives_two_rounds() -> None:
    with world() as one:
        one.use(0)
        one.finish()
        one.ledger.uses.clear()
        one.stage.age(GRACE_S + 1)
        one.use(0)
        (user,) = one.stage.live()
        while user.at != "record":
            user.advance()
        for _ in range(2):  # within the hour that it may take
            one.collect()
            while one.stage.live("collect"):
                one.stage.live("collect")[0].advance()
        one.finish()
        one.check()
        one.rounds(3)
        one.check()
