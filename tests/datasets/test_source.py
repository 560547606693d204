"""What a job may say about its data, and what is said of the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from automata_svc.datasets import SOURCES, Source, describe, list_datasets
from automata_svc.errors import NotFound, SpecError, UnknownName
from automata_svc.settings import Settings

NOWHERE = Settings.from_env({})


def test_a_name_a_mapping_and_an_object_say_the_same() -> None:
    spec = SimpleNamespace(name="digits", path=None, target=None, test=None, val=None)
    assert Source.of("digits") == Source.of({"name": "digits"}) == Source.of(spec)
    assert Source.of(Source(path="a.csv", target="y")) == Source(path="a.csv", target="y")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "give either a name"),
        ({"name": "digits", "path": "a.npz"}, "give either a name"),
        ({"name": "digits", "target": "y"}, "target: goes with a path only"),
        ({"name": "digits", "tset": "y"}, "did you mean 'test'"),
        ({"path": ""}, "'' is no text"),
        ({"path": 7}, "7 is no text"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_said(spec: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Source.of(spec)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        Source.of({"name": "letter", "target": "y", "test": "t.csv", "vall": "v.csv"})
    assert {one.pointer for one in caught.value.problems} == {"target", "test", "vall"}


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'letter'"):
        describe("leter", NOWHERE)


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"digits"}))
def test_a_set_that_is_not_here_says_where_it_was_looked_for_and_how_to_get_it(
    name: str, tmp_path: Path
) -> None:
    folders = (tmp_path / "one", tmp_path / "two")
    with pytest.raises(NotFound) as caught:
        describe(name, replace(NOWHERE, data_dirs=folders))
    said = str(caught.value)
    assert all(str(folder / name) in said for folder in folders)
    assert SOURCES[name].forms[0].files[0] in said
    assert "AUTOMATA_DATA_DIRS" in said and f"folder {name}/" in said


def test_without_data_folders_the_variable_is_named() -> None:
    with pytest.raises(NotFound, match="AUTOMATA_DATA_DIRS names no folder"):
        describe("letter", NOWHERE)


def test_the_first_folder_that_has_all_files_is_taken(tmp_path: Path) -> None:
    for folder, files in (("a", ["train-images-idx3-ubyte.gz"]), ("b", ["fashion_mnist.npz"])):
        for file in files:
            path = tmp_path / folder / "fashion_mnist" / file
            path.parent.mkdir(parents=True)
            path.touch()
    settings = replace(NOWHERE, data_dirs=(tmp_path / "a", tmp_path / "b"))
    found = {one.name: one.found for one in list_datasets(settings)}
    assert found["fashion_mnist"] == str(tmp_path / "b" / "fashion_mnist")
    assert found["letter"] is None and found["digits"] is not None


def test_every_named_set_is_listed_with_what_it_is() -> None:
    listed = list_datasets(NOWHERE)
    assert [one.name for one in listed] == list(SOURCES)
    assert all(one.about and one.get and one.kind in ("tabular", "text") for one in listed)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="gone.csv, .*also.csv"):
        describe(
            Source(path=str(tmp_path / "gone.csv"), test=str(tmp_path / "also.csv"), target="y"),
            NOWHERE,
        )


@pytest.mark.parametrize("path", ["table.parquet", "data", "x.tar.gz", "csv"])
def test_a_file_nothing_reads_lists_the_endings(path: str) -> None:
    with pytest.raises(SpecError, match=r"known endings: \.npz, \.csv, "):
        describe(Source(path=path), NOWHERE)


def test_a_path_that_is_a_sets_name_says_so() -> None:
    with pytest.raises(SpecError, match="{name: letter}"):
        describe(Source(path="letter"), NOWHERE)


def test_files_of_different_kinds_do_not_go_together() -> None:
    with pytest.raises(SpecError, match="different kinds: a.csv, b.npz"):
        describe(Source(path="a.csv", test="b.npz", target="y"), NOWHERE)


def test_a_folder_with_a_files_name_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(NotFound, match="no such file"):
        describe(Source(path=str(tmp_path / "a.npz")), NOWHERE)
