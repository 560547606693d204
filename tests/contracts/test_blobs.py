"""What every blob store owes, whatever stands behind it: a new scheme adds one fixture value."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from automata_svc.blobs import SCHEMES, BlobStore, open_store
from automata_svc.errors import Damaged, NotFound
from tests.blobs.small_s3 import small_s3

S3_URL = os.environ.get("AUTOMATA_TEST_S3_URL", "")  # a real bucket to test in, instead of ours


def test_every_scheme_is_held_to_this_contract() -> None:
    assert set(SCHEMES) == {"file", "s3"}


@pytest.fixture(params=["file", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BlobStore]:
    if request.param == "file":
        yield open_store((tmp_path / "blobs").as_uri())
        return
    if S3_URL:
        store = open_store(f"{S3_URL.rstrip('/')}/{uuid.uuid4().hex}")
        yield store
        for key in store.keys():
            store.delete(key)
        return
    with small_s3() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        yield open_store("s3://bucket/some/prefix")


def test_what_was_put_comes_back(store: BlobStore) -> None:
    data = bytes(range(256)) * 400
    assert store.put("checkpoints/job_1/0/00.pt", data) is True
    assert store.get("checkpoints/job_1/0/00.pt") == data
    assert store.size("checkpoints/job_1/0/00.pt") == len(data)
    assert store.exists("checkpoints/job_1/0/00.pt")


def test_an_empty_object_is_an_object(store: BlobStore) -> None:
    store.put("a", b"")
    assert store.get("a") == b"" and store.size("a") == 0 and store.exists("a")


def test_put_replaces_what_was_there(store: BlobStore) -> None:
    store.put("a", b"long enough to leave a rest")
    store.put("a", b"short")
    assert store.get("a") == b"short"


def test_what_comes_in_pieces_is_one_object_and_goes_in_pieces(store: BlobStore) -> None:
    for size in (0, 3, 1_000_003):
        pieces = [bytes([n]) * size for n in range(7)]
        store.put_stream("a", iter(pieces))
        assert store.get("a") == b"".join(store.stream("a")) == b"".join(pieces)


def test_pieces_may_come_out_of_the_store_itself(store: BlobStore) -> None:
    for n in range(3):
        store.put(f"parts/{n}", bytes([n]) * 3_000_000)
    store.put_stream("whole", (store.get(key) for key in store.keys("parts")))
    assert store.get("whole") == b"".join(bytes([n]) * 3_000_000 for n in range(3))


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_pieces_that_break_off_leave_what_was_there(store: BlobStore, size: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * size
        yield b"y" * size
        raise LookupError("no more")

    store.put("old", b"old")
    for key in ("old", "new"):
        with pytest.raises(LookupError, match="no more"):
            store.put_stream(key, pieces())
    assert store.keys() == ["old"] and store.get("old") == b"old"
    with pytest.raises(NotFound):
        next(store.stream("new"))


def test_put_if_absent_leaves_what_was_there_alone(store: BlobStore) -> None:
    assert store.put("a", b"first", if_absent=True) is True
    assert store.put("a", b"second", if_absent=True) is False
    assert store.get("a") == b"first"


def test_of_many_writers_put_if_absent_lets_one_win(store: BlobStore) -> None:
    start, won = threading.Barrier(8), []

    def write(number: int) -> None:
        start.wait()
        if store.put("lock", b"%d" % number, if_absent=True):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("lock") == b"%d" % won[0]


def test_a_reader_never_sees_half_an_object(store: BlobStore) -> None:
    bodies = [bytes([number]) * 200_000 for number in range(2)]
    store.put("a", bodies[0])
    over = threading.Event()

    def write() -> None:
        for turn in range(100):
            store.put("a", bodies[turn % 2])
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not over.is_set():
        assert store.get("a") in bodies
        assert store.keys() == ["a"]
    thread.join()


def test_what_is_not_there_is_not_found_and_named(store: BlobStore) -> None:
    with pytest.raises(NotFound, match="'no/such'"):
        store.get("no/such")
    with pytest.raises(NotFound, match="'no/such'"):
        store.size("no/such")
    assert not store.exists("no/such")


def test_a_folder_of_keys_is_no_object(store: BlobStore) -> None:
    store.put("a/b/c", b"1")
    assert not store.exists("a/b")
    with pytest.raises(NotFound):
        store.get("a/b")


def test_deleting_twice_is_deleting_once(store: BlobStore) -> None:
    store.put("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    assert not store.exists("a/b") and store.keys() == []


def test_keys_are_sorted_and_below_the_prefix(store: BlobStore) -> None:
    for key in ("b/2", "b/10", "b/1/x", "bb/1", "a"):
        store.put(key, b"")
    assert store.keys("b") == store.keys("b/") == ["b/1/x", "b/10", "b/2"]
    assert store.keys() == ["a", "b/1/x", "b/10", "b/2", "bb/1"]
    assert store.keys("nothing") == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a b", "a#1", "ü"])
def test_a_key_that_some_backend_would_bend_is_refused(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="blob key"):
        store.put(key, b"")
    assert store.keys() == []


def test_content_is_stored_under_its_own_digest(store: BlobStore) -> None:
    key = store.put_content("bundles", b"hello")
    digest = hashlib.sha256(b"hello").hexdigest()
    assert key == f"bundles/{digest}" == store.put_content("bundles", b"hello")
    assert store.keys() == [key]
    assert store.get_checked(key, digest) == b"hello"


def test_bytes_that_changed_are_damaged_and_storing_them_again_heals(store: BlobStore) -> None:
    key = store.put_content("bundles", b"hello")
    store.put(key, b"hellO")
    with pytest.raises(Damaged, match=key):
        store.get_checked(key, key.rpartition("/")[2])
    store.put_content("bundles", b"hello")
    assert store.get_checked(key, key.rpartition("/")[2]) == b"hello"


def test_another_process_opens_the_same_store_by_its_url(store: BlobStore) -> None:
    store.put("a", b"1")
    assert open_store(store.url).get("a") == b"1"
    assert pickle.loads(pickle.dumps(store)).get("a") == b"1"


def test_a_listing_says_sizes_and_ages_on_the_stores_own_clock(store: BlobStore) -> None:
    before = store.now()
    store.put("a/1", b"four")
    store.put("a/2", b"")
    (first, second) = store.entries("a")
    assert (first.key, first.size, second.key, second.size) == ("a/1", 4, "a/2", 0)
    assert before <= first.modified <= second.modified <= store.now()
    assert store.keys() == ["a/1", "a/2"]  # asking for the time leaves nothing behind
