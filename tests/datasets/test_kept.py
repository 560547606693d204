"""What was read is kept as long as the files stay as they are, and no longer."""

from __future__ import annotations

import os

from automata_svc.datasets import describe
from automata_svc.datasets.kept import Kept
from automata_svc.settings import Settings


def test_files_that_did_not_change_are_read_once(tmp_path):
    file, kept, reads = tmp_path / "a", Kept(2), []

    def read() -> str:
        reads.append(1)
        return file.read_text()

    file.write_text("one")
    assert [kept.get("a", [file], read) for _ in range(3)] == ["one"] * 3
    assert len(reads) == 1
    file.write_text("two!")
    assert kept.get("a", [file], read) == "two!"


def test_a_file_of_the_same_size_and_name_is_read_again(tmp_path):
    file, other, kept = tmp_path / "a", tmp_path / "b", Kept(2)
    file.write_text("one")
    assert kept.get("a", [file], file.read_text) == "one"
    other.write_text("two")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert kept.get("a", [file], file.read_text) == "two"


def test_what_changes_while_it_is_read_is_not_kept(tmp_path):
    file, kept = tmp_path / "a", Kept(2)
    file.write_text("one")

    def read() -> str:
        text = file.read_text()
        file.write_text("changed under it")
        return text

    assert kept.get("a", [file], read) == "one"
    assert kept.get("a", [file], file.read_text) == "changed under it"


def test_no_more_is_kept_than_was_said(tmp_path):
    file, kept, reads = tmp_path / "a", Kept(2), []
    file.write_text("one")
    for key in (1, 2, 3, 1):
        kept.get(key, [file], lambda key=key: reads.append(key))
    assert reads == [1, 2, 3, 1]


def test_an_edited_dataset_has_another_digest(tmp_path):
    file = tmp_path / "d.csv"
    rows = "".join(f"{i},{i % 2}\n" for i in range(60))
    file.write_text("x,y\n" + rows)
    spec = {"path": str(file), "target": "y"}
    settings = Settings.from_env({"AUTOMATA_HOME": str(tmp_path)})
    first, again = describe(spec, settings), describe(spec, settings)
    assert first is again
    file.write_text("x,y\n" + rows.replace("59,1", "60,1"))
    assert describe(spec, settings).digest != first.digest
