"""A folder of blobs when the machine fails it: no space, a kill in the middle, no permission."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automata_svc.blobs import open_store
from automata_svc.errors import AutomataError
from tests.blobs.tiny_disk import mounted


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "tiny") as folder:
        yield folder


def test_a_full_disk_is_said_and_leaves_nothing_behind(tiny_disk: Path) -> None:
    store = open_store((tiny_disk / "blobs").as_uri())
    store.put("old", b"x" * 500_000)
    for if_absent in (False, True):
        with pytest.raises(AutomataError, match=r"'new' \(900,000 bytes\).* no space left"):
            store.put("new", b"y" * 900_000, if_absent=if_absent)
    with pytest.raises(AutomataError, match="no space left"):
        store.put("old", b"z" * 900_000)
    assert not store.exists("new")
    assert store.get("old") == b"x" * 500_000
    assert os.listdir(tiny_disk / "blobs") == ["old"]  # half-written files are gone too
    store.put("new", b"y" * 400_000)


def test_a_writer_killed_in_the_middle_leaves_whole_objects_only(tmp_path: Path) -> None:
    url = (tmp_path / "blobs").as_uri()
    code = (
        "import itertools, sys\n"
        "from automata_svc.blobs import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "for n in itertools.count():\n"
        "    store.put(f'k/{n % 7}', bytes([n % 251]) * 3_000_000)\n"
        "    print(n, flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(5):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    store = open_store(url)
    keys = store.keys("k")
    assert len(keys) >= 5
    for key in keys:
        data = store.get(key)
        assert data == data[:1] * 3_000_000


def test_a_folder_that_cannot_be_written_is_said() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc, whose folders nobody can write into")
    with pytest.raises(AutomataError, match="cannot store blob 'a/b'"):
        open_store("file:///proc").put("a/b", b"1")
