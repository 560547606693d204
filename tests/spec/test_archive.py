"""Folders as archives: the same bytes wherever they are made, and nothing that leads out."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from automata_svc.errors import SpecError
from automata_svc.spec import archive
from automata_svc.spec.archive import members, name_mistake, pack_folder, tar_stream, unpack
from automata_svc.spec.bundle import BundleRef, as_ref, name_from


def tree(folder: Path, *, order: int = 1) -> Path:
    files = {"a.py": "A = 1\n", "pkg/__init__.py": "", "pkg/deep/b.py": "B = 2\n", "data.txt": "x"}
    for name, text in list(files.items())[::order]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_equal_files_make_equal_bytes_whatever_their_times_and_order(tmp_path: Path):
    first, second = tree(tmp_path / "one"), tree(tmp_path / "other name", order=-1)
    os.utime(second / "a.py", (0, 0))
    (second / "pkg").chmod(0o700)
    assert pack_folder(first).data == pack_folder(second).data
    (second / "a.py").write_text("A = 2\n")
    assert pack_folder(first).sha256 != pack_folder(second).sha256


def test_what_is_packed_comes_back(tmp_path: Path):
    folder = tree(tmp_path / "code")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    packed = pack_folder(folder)
    assert packed.files == ("a.py", "data.txt", "pkg/__init__.py", "pkg/deep/b.py", "run.sh")
    (tmp_path / "out").mkdir()
    unpack(io.BytesIO(packed.data), "tar.gz", tmp_path / "out")
    assert pack_folder(tmp_path / "out").data == packed.data


def test_caches_and_version_control_are_left_out_and_said(tmp_path: Path):
    folder = tree(tmp_path / "code")
    for name in (".git/config", "__pycache__/a.pyc", "pkg/__pycache__/b.pyc", ".venv/x", "c.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    packed = pack_folder(folder)
    assert packed.files == ("a.py", "data.txt", "pkg/__init__.py", "pkg/deep/b.py")
    assert packed.left_out == (".git/", ".venv/", "__pycache__/", "c.pyc", "pkg/__pycache__/")


def test_a_link_in_the_folder_becomes_its_file_and_one_out_of_it_is_refused(tmp_path: Path):
    folder = tree(tmp_path / "code")
    (folder / "same.py").symlink_to("a.py")
    packed = pack_folder(folder)
    read = {one.name: one.stream.read() for one in members(io.BytesIO(packed.data), "tar.gz")}
    assert read["same.py"] == read["a.py"]
    (folder / "out.py").symlink_to("/etc/passwd")
    (folder / "up").symlink_to(tmp_path)
    (folder / "gone.py").symlink_to("nothing.py")
    os.mkfifo(folder / "pipe")
    with pytest.raises(SpecError) as refused:
        pack_folder(folder)
    said = {problem.pointer: problem.message for problem in refused.value.problems}
    assert set(said) == {"out.py", "up", "gone.py", "pipe"}
    assert "leads out of the folder" in said["out.py"]


def test_a_module_that_hides_one_of_pythons_is_refused(tmp_path: Path):
    folder = tree(tmp_path / "code")
    (folder / "random.py").write_text("")
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("")
    (folder / "json").mkdir()  # no package: Python's own is found first
    (folder / "json" / "x.py").write_text("")
    with pytest.raises(SpecError) as refused:
        pack_folder(folder)
    assert [one.pointer for one in refused.value.problems] == ["random", "torch"]


def test_too_much_is_said_with_the_largest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tree(tmp_path / "code")
    (folder / "big.bin").write_bytes(os.urandom(300_000))
    monkeypatch.setattr(archive, "MAX_UNPACKED", 200_000)
    with pytest.raises(SpecError, match="big.bin"):
        pack_folder(folder)
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_BYTES", {"code": 200_000})
    with pytest.raises(SpecError, match=r"200,000; the largest files: big.bin \(300,000\)"):
        pack_folder(folder)


@pytest.mark.parametrize("what", ["nothing", "empty", "file"])
def test_what_is_no_folder_of_code_is_said(tmp_path: Path, what: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError):
        pack_folder(tmp_path / what)


@pytest.mark.parametrize(
    "name",
    ["/a", "../a", "a/../b", "a//b", "./a", "a/.", "a\\b", "a\nb", "C:/x", "a" * 201, "x/" * 50,
     "\ud800"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_a_mistake(name: str):
    assert name_mistake(name) is not None


def test_a_large_file_streams_into_a_tar_that_others_can_read(tmp_path: Path):
    import tarfile

    (tmp_path / "big").write_bytes(os.urandom(3_000_001))
    raw = b"".join(tar_stream([("first", b"abc"), ("big.npz", tmp_path / "big")]))
    with tarfile.open(fileobj=io.BytesIO(raw)) as made:
        assert made.getnames() == ["first", "big.npz"]
        member = made.extractfile("big.npz")
        assert member is not None and member.read() == (tmp_path / "big").read_bytes()


def test_only_a_name_with_a_whole_digest_is_a_reference():
    digest = "0" * 64
    assert as_ref(f"a.b-c_1@{digest}") == BundleRef("a.b-c_1", digest)
    for text in ("a", f"@{digest}", "a@abc", f"a/b@{digest}", f"a@{digest.replace('0', 'G')}",
                 f"a@{digest}\n", f"ä@{digest}"):  # fmt: skip
        assert as_ref(text) is None


@pytest.mark.parametrize(
    ("given", "made"),
    [("mine.py", "mine"), ("My Data.csv.gz", "My-Data"), ("x.jsonl", "x"), ("--a..", "a")],
)
def test_a_name_is_made_of_a_files(given: str, made: str):
    assert name_from(given, "dataset") == made
    with pytest.raises(SpecError):
        name_from("???", "code")
