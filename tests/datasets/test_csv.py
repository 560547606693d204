"""Tables of a user's own: columns become features by what the training rows hold."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from automata_svc.datasets import Dataset, Source, load_dataset
from automata_svc.errors import SpecError
from automata_svc.settings import Settings

NOWHERE = Settings.from_env({})

TRAIN = """size,colour,old,kind
1.0,red,0,good
2.0,blue,1,bad
3.0,red,1,good
,blue,0,bad
9.0,,1,good
3.0,red,0,bad
"""
TEST = """kind,old,colour,size
good,0,green,3.0
bad,1,red,
"""
VAL = "size,colour,old,kind\n1.0,blue,1,good\n2.0,red,0,bad\n"


def load(folder: Path, target: str | None = "kind", **files: str) -> Dataset:
    paths = {}
    for key, text in files.items():
        (folder / f"{key}.csv").write_text(text)
        paths[key] = str(folder / f"{key}.csv")
    return load_dataset(Source(target=target, **paths), NOWHERE)


def test_columns_become_features_by_the_training_rows(tmp_path: Path) -> None:
    dataset = load(tmp_path, path=TRAIN, val=VAL, test=TEST)
    assert dataset.shape.n_features == 4  # size, colour=blue, colour=red, old
    assert dataset.shape.class_names == ("bad", "good")
    sizes = np.array([1, 2, 3, 3, 9, 3])  # the missing one is the median, 3
    assert np.allclose(dataset.train.x[:, 0], (sizes - sizes.mean()) / sizes.std(), atol=1e-6)
    blue, red = dataset.train.x[:, 1].tolist(), dataset.train.x[:, 2].tolist()
    assert blue == [0, 1, 0, 1, 0, 0] and red == [1, 0, 1, 0, 0, 1]  # missing: all zeros
    test = dataset.open_test()
    assert test.y.tolist() == [1, 0]
    assert test.x[:, 1:3].tolist() == [[0, 0], [0, 1]]  # green is unknown: all zeros
    assert np.allclose(test.x[:, 0], (3 - sizes.mean()) / sizes.std(), atol=1e-6)
    said = " ".join(dataset.shape.notes)
    assert "column 'size': 1 missing training values become the median 3" in said
    assert "column 'colour': one-hot of 2 training categories" in said


def test_a_gzipped_table_and_one_without_splits_are_fine(tmp_path: Path) -> None:
    lines = ["a,b,y"] + [f"{i},{i % 5},{'abc'[i % 3]}" for i in range(60)]
    with gzip.open(tmp_path / "own.csv.gz", "wt") as stream:
        stream.write("\n".join(lines))
    shape = load_dataset(Source(path=str(tmp_path / "own.csv.gz"), target="y"), NOWHERE).shape
    assert (shape.n_train, shape.n_val, shape.n_test) == (38, 10, 12)


def test_the_same_table_with_another_target_has_another_digest(tmp_path: Path) -> None:
    table = "a,b,y\n" + "".join(f"{i % 2},{i % 2},{i % 2}\n" for i in range(20))
    digests = {load(tmp_path, target, path=table).shape.digest for target in ("a", "b", "y")}
    assert len(digests) == 3


def test_numbers_as_labels_are_classes_too(tmp_path: Path) -> None:
    table = "a,y\n" + "".join(f"{i},{i % 2 + 1}\n" for i in range(20))
    assert load(tmp_path, "y", path=table).shape.class_names == ("1", "2")


def test_a_saved_row_number_is_pointed_out(tmp_path: Path) -> None:
    table = ",a,y\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(20))
    assert "column 1 has no name" in load(tmp_path, "y", path=table).shape.notes[0]


@pytest.mark.parametrize(
    ("target", "files", "said"),
    [
        (None, {"path": TRAIN}, "target: name the column to predict; .*size, colour, old, kind"),
        ("kinds", {"path": TRAIN}, "unknown column 'kinds'; did you mean 'kind'"),
        ("colour", {"path": TRAIN}, "colour: 1 rows have no label"),
        ("size", {"path": TRAIN.replace("9.0", "9.5")}, "size: 1 rows have no label"),
        ("a", {"path": "a,b\n1.5,2\n2,3\n"}, "not whole numbers.*regression"),
        ("kind", {"path": TRAIN, "test": "kind,old\ngood,1\n"}, "test: has no column size, colour"),
        ("kind", {"path": TRAIN, "test": TEST.replace("old", "new")}, "training lacks: new"),
        ("kind", {"path": TRAIN, "test": TEST.replace("3.0", "big")}, "'size' holds texts, in tr"),
        ("kind", {"path": TRAIN.replace("9.0", "inf")}, "size: 1 values are infinite"),
        ("kind", {"path": "size,colour,kind\n"}, "a header and no row"),
        ("kind", {"path": ""}, "cannot be read as csv"),
        ("kind", {"path": 'a,kind\n1,2\n1,2,3,4\n"'}, "cannot be read as csv"),
        ("kind", {"path": "kind\n" + "a\nb\n" * 5}, "no column besides the target"),
        (
            "kind",
            {"path": TRAIN.replace(",", ";")},
            "has ';' between its columns; right is a comma",
        ),
        (None, {"path": TRAIN.replace(",", "\t")}, r"has '\\t' between its columns"),
        ("b", {"path": "a,b\n" + "1,2,0\n2,3,1\n" * 9}, "rows of 3 fields below a header of 2"),
        ("b", {"path": "a,b\n" + "1,0,\n2,1,\n" * 9}, "rows of 3 fields below a header of 2"),
        ("y", {"path": "a,y,y\n" + "1,2,0\n2,3,1\n" * 9}, "target: 2 columns are called 'y'"),
    ],
)
def test_a_mistake_is_said_with_what_would_be_right(
    tmp_path: Path, target: str | None, files: dict[str, str], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        load(tmp_path, target, **files)


def test_all_mistakes_of_a_table_come_together(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, "colour", path=TRAIN.replace("9.0", "inf").replace("bad", "-inf"))
    assert {one.pointer for one in caught.value.problems} == {"colour", "size"}


def test_a_column_of_names_is_not_taken_for_categories(tmp_path: Path) -> None:
    table = "who,y\n" + "".join(f"person {i},{i % 2}\n" for i in range(2_000))
    with pytest.raises(SpecError, match="who: 1,280 distinct texts .*too many"):
        load(tmp_path, "y", path=table)


def test_a_table_of_bytes_is_said(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"a,y\n\xff\xfe,1\n")
    with pytest.raises(SpecError, match="cannot be read as csv: .*; right is UTF-8"):
        load_dataset(Source(path=str(tmp_path / "own.csv"), target="y"), NOWHERE)


def test_a_gzipped_table_with_a_flipped_bit_is_said(tmp_path: Path) -> None:
    raw = bytearray(gzip.compress("".join(f"{i},{i * i % 7}\n" for i in range(300)).encode()))
    raw[10] |= 0b110  # the first block is of a kind that there is not
    (tmp_path / "own.csv.gz").write_bytes(raw)
    with pytest.raises(SpecError, match="cannot be read as csv"):
        load_dataset(Source(path=str(tmp_path / "own.csv.gz"), target="y"), NOWHERE)
