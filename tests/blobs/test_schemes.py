"""URLs of blob stores, and what is said of wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from automata_svc.blobs import open_store
from automata_svc.errors import AutomataError, SpecError


@pytest.mark.parametrize("url", ["gs://bucket", "/plain/path", "", "files:///x", "C:\\blobs"])
def test_an_unknown_scheme_lists_the_known(url: str) -> None:
    with pytest.raises(SpecError, match="known: file, s3"):
        open_store(url)


def test_a_mistyped_scheme_gets_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'file'"):
        open_store("fil:///x")


@pytest.mark.parametrize("url", ["file://relative/folder", "file:relative"])
def test_a_folder_that_does_not_start_at_the_root_is_refused(url: str) -> None:
    with pytest.raises(SpecError, match="three slashes"):
        open_store(url)


def test_a_bucket_must_be_named() -> None:
    with pytest.raises(SpecError, match="s3://bucket/prefix"):
        open_store("s3:///prefix")


def test_the_folder_is_made_and_its_name_may_need_quoting(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "ümlaut % #"
    open_store(folder.as_uri()).put("a/b", b"1")
    assert (folder / "a" / "b").read_bytes() == b"1"


def test_a_file_in_the_folders_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(AutomataError, match="cannot make the blob folder .*taken"):
        open_store((tmp_path / "taken" / "blobs").as_uri())


def test_importing_blobs_does_not_load_obstore() -> None:
    code = "import sys, automata_svc.blobs; print('obstore' in sys.modules, 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
