"""Unpacked blobs go when there are too many of them, and never under one who uses them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from automata_svc.blobs.evicting import INDEX, RECENT_S, cached, evict, is_idle, trim
from automata_svc.blobs.unpacked import held, unpacked

ROOT = Path(__file__).resolve().parents[2]


def keep(cache: Path, number: int, most_bytes: float | None = None) -> Path:
    """The folder of a blob of 1,000 bytes."""
    data = bytes([number]) * 1_000
    digest = hashlib.sha256(data).hexdigest()
    return unpacked(cache, digest, "blob", lambda: (data,), most_bytes)


def age(folder: Path, seconds: float) -> None:
    index = folder.parent / INDEX
    at = index.stat().st_mtime - seconds
    os.utime(index, (at, at))


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Four entries, the first unused for the longest time."""
    made = [keep(tmp_path, number) for number in range(4)]
    for number, folder in enumerate(made):
        age(folder, RECENT_S + 100 - 10 * number)
    return made


def there(folders: list[Path]) -> list[bool]:
    return [folder.is_dir() for folder in folders]


def test_the_longest_unused_go_until_the_rest_fits(tmp_path: Path, folders: list[Path]) -> None:
    assert trim(tmp_path, 4_000) == []
    gone = trim(tmp_path, 2_500)
    assert [one.path for one in gone] == [folder.parent for folder in folders[:2]]
    assert [(one.files, one.bytes) for one in gone] == [(1, 1_000)] * 2
    assert there(folders) == [False, False, True, True]
    assert sorted(os.listdir(tmp_path)) == sorted(folder.parent.name for folder in folders[2:])


def test_who_asks_for_an_entry_makes_it_the_last_to_go(tmp_path: Path, folders: list[Path]) -> None:
    keep(tmp_path, 0)
    assert [one.path for one in cached(tmp_path)][-1] == folders[0].parent
    trim(tmp_path, 0)
    assert there(folders) == [True, False, False, False]  # it was used just now


def test_a_new_entry_makes_room_for_itself_and_stays(tmp_path: Path, folders: list[Path]) -> None:
    new = keep(tmp_path, 9, most_bytes=2_000)
    assert there([*folders, new]) == [False, False, False, True, True]


def test_what_somebody_holds_stays(tmp_path: Path, folders: list[Path]) -> None:
    data = bytes([0]) * 1_000
    digest = hashlib.sha256(data).hexdigest()
    with held(tmp_path, digest, "blob", lambda: (data,)) as folder:
        age(folder, RECENT_S)
        assert not is_idle(folder.parent) and not evict(folder.parent)
        assert (folder / "blob").read_bytes() == data
    assert is_idle(folders[0].parent) and evict(folders[0].parent)
    assert not evict(folders[0].parent)


HOLD = """
import sys
from pathlib import Path
from automata_svc.blobs.unpacked import held
with held(Path(sys.argv[1]), sys.argv[2], "blob", lambda: ()) as folder:
    print("held", flush=True)
    input()
"""


def test_a_killed_process_holds_nothing(tmp_path: Path, folders: list[Path]) -> None:
    entry = folders[0].parent
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), entry.name],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    age(folders[0], RECENT_S)
    assert not evict(entry)
    process.kill()
    process.communicate()
    assert evict(entry)


def test_readers_and_evictors_at_once_never_meet(tmp_path: Path) -> None:
    """Evictors that spare nothing but what is held; readers find all of it, every time."""
    over = threading.Event()
    data = [bytes([number]) * 1_000 for number in range(3)]

    def read(who: int) -> None:
        for turn in range(150):
            one = data[(who + turn) % 3]
            digest = hashlib.sha256(one).hexdigest()
            with held(tmp_path, digest, "blob", lambda one=one: (one,)) as folder:
                assert (folder / "blob").read_bytes() == one

    def take() -> int:
        count = 0
        while not over.is_set():
            count += len(trim(tmp_path, 0, recent_s=0.0))
        return count

    with ThreadPoolExecutor(5) as pool:
        taking = [pool.submit(take) for _ in range(2)]
        reading = [pool.submit(read, who) for who in range(3)]
        try:
            for one in reading:
                one.result(50)
        finally:
            over.set()
        assert sum(one.result(60) for one in taking) > 0
