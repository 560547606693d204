"""Blobs as files: unpacked once, whole, checked, by however many processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automata_svc.blobs.unpacked import unpacked
from automata_svc.errors import Damaged, Unavailable
from automata_svc.spec.archive import Packed, pack_folder


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    (tmp_path / "code" / "pkg").mkdir(parents=True)
    (tmp_path / "code" / "a.py").write_text("A = 1\n")
    (tmp_path / "code" / "pkg" / "b.py").write_text("B = 2\n")
    return pack_folder(tmp_path / "code")


class Source:
    """Bytes that know how often they were asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, 0

    def __call__(self) -> Iterator[bytes]:
        self.asked += 1
        return iter((self.data[:10], self.data[10:]))


def test_it_is_unpacked_once_and_found_again(tmp_path: Path, packed: Packed):
    source = Source(packed.data)
    for _ in range(2):
        folder = unpacked(tmp_path / "cache", packed.sha256, "tar.gz", source)
        assert (folder / "pkg" / "b.py").read_text() == "B = 2\n"
    assert source.asked == 1
    assert os.listdir(tmp_path / "cache") == [packed.sha256]


@pytest.mark.parametrize("harm", ["change", "remove", "add", "index", "half"])
def test_damage_is_found_and_mended(tmp_path: Path, packed: Packed, harm: str):
    source = Source(packed.data)
    folder = unpacked(tmp_path / "cache", packed.sha256, "tar.gz", source)
    match harm:
        case "change":
            (folder / "a.py").write_text("A = 2\n")
        case "remove":
            (folder / "a.py").unlink()
        case "add":
            (folder / "c.py").write_text("")
        case "index":
            (folder.parent / "index.json").unlink()
            (folder / "a.py").touch()
        case "half":
            shutil.rmtree(folder)
    folder = unpacked(tmp_path / "cache", packed.sha256, "tar.gz", source)
    assert (folder / "a.py").read_text() == "A = 1\n" and not (folder / "c.py").exists()
    assert source.asked == 2
    assert os.listdir(tmp_path / "cache") == [packed.sha256]


def test_what_python_writes_beside_code_is_no_damage(tmp_path: Path, packed: Packed):
    source = Source(packed.data)
    folder = unpacked(tmp_path / "cache", packed.sha256, "tar.gz", source)
    (folder / "pkg" / "__pycache__").mkdir()
    (folder / "pkg" / "__pycache__" / "b.pyc").write_bytes(b"")
    unpacked(tmp_path / "cache", packed.sha256, "tar.gz", source)
    assert source.asked == 1


def test_other_bytes_than_the_named_ones_are_refused_and_leave_nothing(
    tmp_path: Path, packed: Packed
):
    with pytest.raises(Damaged, match="push it again"):
        unpacked(tmp_path / "cache", packed.sha256, "tar.gz", Source(packed.data[:-1]))
    assert os.listdir(tmp_path / "cache") == []


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, packed: Packed):
    (tmp_path / "taken").write_text("")
    with pytest.raises(Unavailable, match="cannot unpack"):
        unpacked(tmp_path / "taken" / "cache", packed.sha256, "tar.gz", Source(packed.data))


def test_a_plain_file_gets_its_name(tmp_path: Path):
    data = b"'''Mine.'''\n"
    folder = unpacked(tmp_path, hashlib.sha256(data).hexdigest(), "mine.py", lambda: (data,))
    assert (folder / "mine.py").read_bytes() == data


def test_processes_that_unpack_the_same_all_get_it(tmp_path: Path, packed: Packed):
    (tmp_path / "bundle").write_bytes(packed.data)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from automata_svc.blobs.unpacked import unpacked\n"
        "root = Path(sys.argv[1])\n"
        "sys.stdin.read()\n"
        "for _ in range(20):\n"
        "    folder = unpacked(root / 'cache', sys.argv[2], 'tar.gz',\n"
        "                      lambda: ((root / 'bundle').read_bytes(),))\n"
        "    assert (folder / 'a.py').read_text() == 'A = 1\\n'\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), packed.sha256]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for run in runs:
        assert run.stdin is not None
        run.stdin.close()
    assert [run.wait() for run in runs] == [0, 0, 0, 0]
    assert os.listdir(tmp_path / "cache") == [packed.sha256]
