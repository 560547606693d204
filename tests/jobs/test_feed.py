"""Feeding followers: one look at the database for all of them, and nothing lost when it is away."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator

import pytest

from automata_svc.database import open_database, this_process
from automata_svc.database.store import Database
from automata_svc.errors import NotFound, SpecError, Unavailable
from automata_svc.jobs import feed as module
from automata_svc.jobs.feed import Feed, News


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    one = open_database(f"sqlite:///{tmp_path / 'feed.db'}")
    yield one
    one.close()


def encode(event) -> bytes:
    return f"{event.seq},".encode()


def job_in(database: Database) -> tuple[str, int]:
    job = database.create_job(name="j", spec="{}", plan="{}", template="{}", created_at=time.time())
    return job, database.take_lease(job, this_process(), 600.0)


def write(database: Database, job: str, token: int, count: int, state: str | None = None) -> None:
    events = [("tick", '{"alive_s":1.0,"v":1}')] * count
    if state is not None:
        events.append(("job_state", json.dumps({"state": state, "reason": "", "v": 1})))
    database.append(job, token, events, time.time(), state=state)


async def read_all(feed: Feed, job: str, after: int = 0, pause: float = 0.0) -> tuple[str, str]:
    """Everything that a reader is given, and how it ended."""
    found = b""
    async with feed.follow(job, after) as reader:
        while True:
            news = await reader.next(5.0)
            assert news is not None, "nothing came for 5 s"
            found += b"".join(news.parts)
            if news.end is not None or news.closed:
                return found.decode(), news.end or "closed"
            await asyncio.sleep(pause)


def numbers(first: int, last: int) -> str:
    return "".join(f"{n}," for n in range(first, last + 1))


def test_fast_and_slow_readers_all_get_everything_once(database):
    job, token = job_in(database)
    chance = random.Random(3)

    async def scene() -> list[tuple[str, str]]:
        feed = Feed(database, encode, poll_s=0.01)
        readers = []
        total = 0
        for _ in range(40):
            readers.append(
                asyncio.create_task(read_all(feed, job, 0, pause=chance.choice([0, 0.002, 0.05])))
            )
            write(database, job, token, count := chance.randrange(1, 60))
            total += count
            await asyncio.sleep(chance.choice([0, 0.005, 0.02]))
            assert len(feed._channels) <= 1
        write(database, job, token, 3, "SUCCEEDED")
        found = await asyncio.gather(*readers)
        assert {one[0] for one in found} == {numbers(1, total + 4)}
        assert feed.readers == 0 and not feed._channels
        return found

    assert {end for _, end in asyncio.run(scene())} == {"SUCCEEDED"}


def test_what_is_kept_is_bounded_and_readers_behind_it_lose_nothing(database, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 60)
    monkeypatch.setattr(module, "PAGE", 7)
    job, token = job_in(database)
    write(database, job, token, 50)

    async def scene() -> None:
        feed = Feed(database, encode, poll_s=0.01)
        readers = [asyncio.create_task(read_all(feed, job, n * 10, 0.003)) for n in range(5)]
        for _ in range(30):
            write(database, job, token, 5)
            await asyncio.sleep(0.003)
            assert all(one.size <= 60 for one in feed._channels.values())
        write(database, job, token, 0, "FAILED")
        for n, reader in enumerate(readers):
            assert await reader == (numbers(n * 10 + 1, 201), "FAILED")

    asyncio.run(scene())


def test_many_followers_are_one_question_to_the_database(database, monkeypatch):
    job, token = job_in(database)
    asked = []
    last_seqs, events = database.last_seqs, database.events
    monkeypatch.setattr(database, "last_seqs", lambda ids: asked.append("seqs") or last_seqs(ids))
    monkeypatch.setattr(
        database, "events", lambda *a, **k: asked.append("events") or events(*a, **k)
    )

    async def scene() -> None:
        feed = Feed(database, encode, poll_s=0.02)
        readers = [asyncio.create_task(read_all(feed, job)) for _ in range(30)]
        await asyncio.sleep(0.1)
        asked.clear()
        for _ in range(5):
            write(database, job, token, 1)
            await asyncio.sleep(0.06)
        assert asked.count("events") == 5
        assert asked.count("seqs") <= 20
        write(database, job, token, 0, "SUCCEEDED")
        await asyncio.gather(*readers)
        await asyncio.sleep(0.05)
        asked.clear()
        await asyncio.sleep(0.1)
        assert asked == []  # nobody follows: nobody asks

    asyncio.run(scene())


@pytest.mark.parametrize("error", [Unavailable("it restarts"), RuntimeError("a mistake of ours")])
def test_readers_wait_while_the_database_is_away(database, monkeypatch, error, caplog):
    monkeypatch.setattr(module, "AWAY_S", 0.02)
    job, token = job_in(database)
    last_seqs = database.last_seqs

    asked = 0

    def away(ids):
        nonlocal asked
        asked += 1
        raise error

    async def asked_again() -> None:
        """A question was asked and refused that began after this call."""
        until = asked + 2
        while asked < until:
            await asyncio.sleep(0.005)

    async def scene() -> tuple[str, str]:
        feed = Feed(database, encode, poll_s=0.01)
        reader = asyncio.create_task(read_all(feed, job))
        await asyncio.sleep(0)
        monkeypatch.setattr(database, "last_seqs", away)
        await asked_again()
        write(database, job, token, 5, "SUCCEEDED")
        await asked_again()
        assert not reader.done()
        monkeypatch.setattr(database, "last_seqs", last_seqs)
        return await reader

    with caplog.at_level("WARNING", "automata.feed"):
        assert asyncio.run(scene()) == (numbers(1, 6), "SUCCEEDED")
    if isinstance(error, Unavailable):  # and it is said once, however often they asked
        assert [one.getMessage().rpartition(": ")[2] for one in caplog.records] == ["it restarts"]


def test_a_deleted_job_is_said_to_be_gone(database):
    job, token = job_in(database)
    write(database, job, token, 2)

    async def scene() -> None:
        feed = Feed(database, encode, poll_s=0.01)
        async with feed.follow(job, 2) as reader:
            database.append(job, token, [("tick", '{"alive_s":1.0,"v":1}')], 0.0, state="FAILED")
            database.delete_job(job)
            with pytest.raises(NotFound, match="deleted"):
                while True:
                    await reader.next(2.0)

    asyncio.run(scene())


def test_a_closed_feed_ends_those_who_read_and_those_who_come(database):
    job, token = job_in(database)
    write(database, job, token, 2)

    async def scene() -> None:
        feed = Feed(database, encode, poll_s=0.01)
        reader = asyncio.create_task(read_all(feed, job))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(feed.close)
        assert await asyncio.wait_for(reader, 1) == ("1,2,", "closed")
        async with feed.follow(job) as late:
            assert await late.next(1.0) == News(seq=0, closed=True)

    asyncio.run(scene())


def test_too_many_readers_and_places_that_are_none_are_refused(database):
    job, _ = job_in(database)

    async def scene() -> None:
        feed = Feed(database, encode, max_readers=2)
        async with feed.follow(job), feed.follow(job):
            with pytest.raises(Unavailable):
                async with feed.follow(job):
                    raise AssertionError
        with pytest.raises(SpecError, match="beyond the log"):
            async with feed.follow(job, 1):
                raise AssertionError
        with pytest.raises(NotFound):
            async with feed.follow("job_none"):
                raise AssertionError
        assert feed.readers == 0 and not feed._channels

    asyncio.run(scene())
