"""Subsets computed once: shared, checked, rebuilt where they are damaged or their builder died."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automata_svc.blobs import BlobStore, open_store
from automata_svc.datasets import Dataset, Shape, Split
from automata_svc.errors import AutomataError, Conflict, Damaged, NotFound, SpecError, UnknownName
from automata_svc.selection import STRATEGIES, Draw, Rows
from automata_svc.selection.artefacts import (
    Request,
    artefact_key,
    condemn,
    is_stored,
    list_artefacts,
    load_or_build,
    read_arrays,
    remove,
    reprieve,
    request_for,
    show,
)
from tests.blobs.tiny_disk import mounted

ROOT = Path(__file__).resolve().parents[2]
SIZE = 12


def small() -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (rng.normal(size=(90, 5)) + y[:, None]).astype(np.float32)
    shape = Shape("small", "tabular", 90, 1, 1, 3, 5, digest="d" * 64)
    split = Split(x, y.astype(np.int64))
    return Dataset(shape, split, split, lambda: split)


DATASET = small()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_store((tmp_path / "blobs").as_uri())


def request(seed: int = 0) -> Request:
    return request_for("milo", DATASET, size=SIZE, options={"subsets": 2}, seed=seed)


def arrays_key(store: BlobStore, key: str) -> str:
    (found,) = [one for one in store.keys(f"subsets/{key}") if not one.endswith(".json")]
    return found


# A process that says when it builds, then takes its time.
BUILDER = """
import sys, time
from automata_svc.blobs import open_store
from automata_svc.selection import artefacts
from tests.selection.test_artefacts import DATASET, request
prepare = artefacts._prepare
def slowly(asked, dataset):
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    return prepare(asked, dataset)
artefacts._prepare = slowly
built = artefacts.load_or_build(open_store(sys.argv[1]), request(), DATASET)
print("hit" if built.hit else "built", sum(a.sum() for a in built.arrays.values()))
"""


def builder(store: BlobStore, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, store.url, str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_first_call_builds_and_the_second_finds_the_same(store: BlobStore) -> None:
    first = load_or_build(store, request(), DATASET)
    again = load_or_build(store, request(), DATASET)
    assert (first.hit, again.hit) == (False, True)
    assert first.key == again.key == request().key
    assert first.forward_rows == again.forward_rows == 0 and first.note == again.note == ""
    assert first.arrays.keys() == again.arrays.keys()
    for name, array in first.arrays.items():
        assert array.dtype == again.arrays[name].dtype
        assert np.array_equal(array, again.arrays[name])


def test_a_strategy_draws_from_a_stored_artefact_as_from_its_own(store: BlobStore) -> None:
    asked = request()
    load_or_build(store, asked, DATASET)
    rows = Rows(DATASET.train.y, 3, DATASET.train.x)
    own = STRATEGIES["milo"].prepare(rows, SIZE, 0, asked.options)
    draw = Draw(size=SIZE, index=1, total=8, seed=(0, 4))
    stored = load_or_build(store, asked, DATASET).arrays
    chosen = [STRATEGIES["milo"].select(rows, a, draw, asked.options) for a in (own, stored)]
    assert chosen[0].indices.tolist() == chosen[1].indices.tolist()


def test_arrays_are_read_only_whether_built_or_read(store: BlobStore) -> None:
    for _ in range(2):
        for array in load_or_build(store, request(), DATASET).arrays.values():
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


@pytest.mark.parametrize(
    "other",
    [
        {"strategy": "automata"},
        {"version": 99},
        {"dataset_digest": "e" * 64},
        {"encoder": None},
        {"encoder": "tfidf_svd"},
        {"size": SIZE + 1},
        {"options": {"subsets": 3}},
        {"seed": 1},
    ],
    ids=str,
)
def test_everything_that_decides_the_rows_is_in_the_key(other: dict[str, object]) -> None:
    assert replace(request(), **other).key != request().key  # type: ignore[arg-type]


def test_a_key_does_not_depend_on_the_order_of_options() -> None:
    args = ("milo", 1, "d" * 64, "standardised", 12)
    key = artefact_key(*args, {"kappa": 0.5, "subsets": 2}, 0)
    assert key == artefact_key(*args, {"subsets": 2, "kappa": 0.5}, 0)
    assert len(key) == 64 and set(key) <= set("0123456789abcdef")


def test_a_strategy_that_looks_at_labels_only_gets_no_encoder() -> None:
    asked = request_for("random", DATASET, encoder="standardised", size=3, options={}, seed=0)
    assert asked.encoder is None
    with pytest.raises(UnknownName, match="did you mean 'milo'"):
        request_for("millo", DATASET, size=3, options={}, seed=0)


def test_an_artefact_of_another_dataset_is_refused(store: BlobStore) -> None:
    with pytest.raises(Conflict, match="is for the dataset eeee"):
        load_or_build(store, replace(request(), dataset_digest="e" * 64), DATASET)


def test_a_flipped_byte_is_found_built_anew_and_said(store: BlobStore) -> None:
    first = load_or_build(store, request(), DATASET)
    key = arrays_key(store, first.key)
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(Damaged):
        read_arrays(store, first.key)
    healed = load_or_build(store, request(), DATASET)
    assert not healed.hit and "damaged" in healed.note and "built anew" in healed.note
    assert all(np.array_equal(healed.arrays[name], first.arrays[name]) for name in first.arrays)
    assert load_or_build(store, request(), DATASET).hit


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store, key: store.put(f"subsets/{key}/manifest.json", b"{}"),
        lambda store, key: store.put(f"subsets/{key}/manifest.json", b"\x00"),
        lambda store, key: store.put(f"subsets/{key}/manifest.json", b"[1]"),
        lambda store, key: store.delete(arrays_key(store, key)),
        lambda store, key: store.put(arrays_key(store, key), b""),
    ],
    ids=["manifest emptied", "manifest no json", "manifest a list", "arrays lost", "arrays empty"],
)
def test_whatever_is_spoilt_is_built_anew(store: BlobStore, spoil: object) -> None:
    key = load_or_build(store, request(), DATASET).key
    spoil(store, key)  # type: ignore[operator]
    healed = load_or_build(store, request(), DATASET)
    assert not healed.hit and healed.note
    assert load_or_build(store, request(), DATASET).hit


def test_a_manifest_copied_from_another_artefact_is_not_believed(store: BlobStore) -> None:
    one, other = (load_or_build(store, request(seed), DATASET).key for seed in (0, 1))
    store.put(f"subsets/{one}/manifest.json", store.get(f"subsets/{other}/manifest.json"))
    with pytest.raises(Damaged, match="another request"):
        read_arrays(store, one)


def test_pickles_are_refused_even_under_a_right_digest(store: BlobStore) -> None:
    key = load_or_build(store, request(), DATASET).key
    stream = io.BytesIO()
    np.savez(stream, order=np.array([{"code": "runs"}], dtype=object))
    blob = store.put_content(f"subsets/{key}", stream.getvalue())
    manifest = json.loads(store.get(f"subsets/{key}/manifest.json"))
    manifest["sha256"] = blob.rpartition("/")[2]
    store.put(f"subsets/{key}/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(Damaged, match="no plain arrays"):
        read_arrays(store, key)
    assert not load_or_build(store, request(), DATASET).hit


def test_two_processes_at_once_build_it_once(store: BlobStore) -> None:
    both = [builder(store, 0.5) for _ in range(2)]
    said = [one.communicate()[0].split("\n") for one in both]
    assert sorted(lines.count("building") for lines in said) == [0, 1]
    results = sorted(lines[-2].split() for lines in said)
    assert [one[0] for one in results] == ["built", "hit"] and results[0][1] == results[1][1]


def test_a_builder_that_is_killed_leaves_the_work_to_the_next(store: BlobStore) -> None:
    first = builder(store, 60.0)
    assert first.stdout is not None and first.stdout.readline() == "building\n"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not is_stored(store, request().key)
    built = load_or_build(store, request(), DATASET, ttl_s=1.0)
    assert not built.hit and is_stored(store, built.key)
    assert read_arrays(store, built.key).keys() == built.arrays.keys()


def test_a_full_disk_is_said_and_with_space_again_it_goes_on(tmp_path: Path) -> None:
    with mounted(tmp_path / "tiny") as folder:
        store = open_store((folder / "blobs").as_uri())
        (folder / "other").write_bytes(b"x" * (1024 - 16) * 1024)  # 16 kB left: the lease fits
        big = replace(
            DATASET, train=Split(DATASET.train.x.repeat(40, 0), DATASET.train.y.repeat(40))
        )
        with pytest.raises(AutomataError, match="cannot store blob .* no space left"):
            load_or_build(store, request(), big)
        assert list_artefacts(store) == []
        (folder / "other").unlink()
        assert not load_or_build(store, request(), big).hit
        assert load_or_build(store, request(), big).hit


def test_a_strategy_that_cannot_leaves_nothing_and_blocks_nobody(store: BlobStore) -> None:
    with pytest.raises(SpecError):
        load_or_build(store, replace(request(), options={"kappa": 7.0}), DATASET)
    assert store.keys("subsets") == []
    assert not load_or_build(store, request(), DATASET).hit


def test_artefacts_are_listed_newest_first_and_shown_by_the_beginning_of_a_key(
    store: BlobStore,
) -> None:
    keys = [
        load_or_build(store, request(seed), DATASET, wall=lambda seed=seed: 1e9 + seed).key  # type: ignore[misc]
        for seed in range(3)
    ]
    assert [one.key for one in list_artefacts(store)] == keys[::-1]
    manifest = show(store, keys[1][:20])
    assert manifest.request == request(1) and manifest.key == keys[1]
    assert manifest.arrays["sge"] == "int32 [2, 12]"
    assert (manifest.dataset, manifest.n, manifest.forward_rows) == ("small", 90, 0)
    assert manifest.created == "2001-09-09T01:46:41+00:00"
    assert manifest.bytes == store.size(arrays_key(store, keys[1]))
    assert "numpy" in manifest.libraries
    with pytest.raises(NotFound, match="no artefact 'xyz'"):
        show(store, "xyz")


def test_a_beginning_that_fits_several_is_refused(store: BlobStore) -> None:
    keys = [load_or_build(store, request(seed), DATASET).key for seed in range(17)]
    first = [key[0] for key in keys]
    double = next(letter for letter in first if first.count(letter) > 1)
    with pytest.raises(SpecError, match="can be any of"):
        show(store, double)


# ---- taken away ---------------------------------------------------------------------------------


def test_what_is_condemned_and_asked_for_again_stays_and_is_a_hit(store: BlobStore) -> None:
    key = load_or_build(store, request(), DATASET).key
    condemn(store, key)
    again = load_or_build(store, request(), DATASET)
    assert again.hit and again.forward_rows == 0
    assert not remove(store, key, lambda: False, 0.0)  # it is condemned no more
    assert is_stored(store, key)


def test_what_is_condemned_and_not_asked_for_goes_whole(store: BlobStore) -> None:
    key = load_or_build(store, request(), DATASET).key
    kept = load_or_build(store, request(1), DATASET).key
    condemn(store, key)
    assert remove(store, key, lambda: False, 0.0)
    assert store.keys(f"subsets/{key}") == []
    assert is_stored(store, kept)
    assert not load_or_build(store, request(), DATASET).hit


def test_what_turns_out_to_be_used_is_not_taken_away(store: BlobStore) -> None:
    key = load_or_build(store, request(), DATASET).key
    condemn(store, key)
    assert not remove(store, key, lambda: True, 0.0)
    assert load_or_build(store, request(), DATASET).hit


def test_nothing_goes_before_its_readers_had_the_time_to_say_that_they_use_it(
    store: BlobStore,
) -> None:
    key = load_or_build(store, request(), DATASET).key
    condemn(store, key)
    assert not remove(store, key, lambda: False, 60.0)
    reprieve(store, key)
    assert not remove(store, key, lambda: False, 0.0)
    assert is_stored(store, key)


def test_a_removal_killed_at_any_step_leaves_nothing_half_and_can_be_repeated(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    delete = BlobStore.delete
    for steps in range(4):
        key = load_or_build(store, request(), DATASET).key
        condemn(store, key)
        left = [steps]

        def dies(store: BlobStore, key: str, left: list[int] = left) -> None:
            if key.startswith("subsets/"):
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
            delete(store, key)

        with monkeypatch.context() as patched:
            patched.setattr(BlobStore, "delete", dies)
            if steps < 3:
                with pytest.raises(Killed):
                    remove(store, key, lambda: False, 0.0)
            else:
                assert remove(store, key, lambda: False, 0.0)
        for damaged in list_artefacts(store):  # none is listed without its arrays
            read_arrays(store, damaged.key)
        if steps == 1:
            assert not load_or_build(store, request(), DATASET).note  # built, not healed
        elif steps < 3:
            assert remove(store, key, lambda: False, 0.0)
            assert store.keys("subsets") == []
