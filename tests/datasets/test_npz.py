"""Arrays of a user's own: what is taken, and every mistake said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automata_svc.datasets import Dataset, Source, load_dataset
from automata_svc.errors import SpecError
from automata_svc.settings import Settings

NOWHERE = Settings.from_env({})
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = np.arange(60) % 3


def load(folder: Path, other: dict[str, dict[str, Any]] | None = None, **arrays: Any) -> Dataset:
    np.savez(folder / "own.npz", **arrays)
    fields = {}
    for split, held in (other or {}).items():
        np.savez(folder / f"{split}.npz", **held)
        fields[split] = str(folder / f"{split}.npz")
    return load_dataset(Source(path=str(folder / "own.npz"), **fields), NOWHERE)


def test_x_and_y_alone_are_split_60_20_20_by_class_roughly(tmp_path: Path) -> None:
    shape = load(tmp_path, X=X, y=Y).shape
    assert (shape.n_train, shape.n_val, shape.n_test) == (38, 10, 12)  # test first, val of the rest
    assert shape.class_names == ("0", "1", "2")


def test_row_numbers_that_are_given_are_kept_in_their_order(tmp_path: Path) -> None:
    train, val, test = np.arange(29, -1, -1), np.arange(30, 45), np.arange(45, 60)
    dataset = load(tmp_path, X=X, y=Y, train_idx=train, val_idx=val, test_idx=test)
    assert dataset.train.y.tolist() == Y[train].tolist()
    scaled = (X[train] - X[train].mean(axis=0)) / X[train].std(axis=0)
    assert np.allclose(dataset.train.x, scaled, atol=1e-5)
    test_scaled = (X[test] - X[train].mean(axis=0)) / X[train].std(axis=0)
    assert np.allclose(dataset.open_test().x, test_scaled, atol=1e-5)


def test_rows_in_no_split_are_not_used_and_said(tmp_path: Path) -> None:
    y = np.r_[Y[:30], np.full(30, 9)]
    rows = {"train_idx": np.arange(10), "val_idx": np.arange(10, 20), "test_idx": np.arange(20, 30)}
    shape = load(tmp_path, X=X, y=y, **rows).shape
    assert shape.class_names == ("0", "1", "2") and shape.n_test == 10
    assert "30 of 60 rows are in no split and not used" in shape.notes


def test_with_test_rows_given_the_rest_is_training_and_validation(tmp_path: Path) -> None:
    dataset = load(tmp_path, X=X, y=Y, test_idx=np.arange(15))
    assert dataset.open_test().y.tolist() == Y[:15].tolist()
    assert (dataset.shape.n_train, dataset.shape.n_val) == (36, 9)


def test_separate_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    parts = {"X_train": X[:30], "y_train": Y[:30], "X_test": X[45:], "y_test": Y[45:]}
    shape = load(tmp_path, **parts).shape
    assert (shape.n_train, shape.n_val, shape.n_test) == (24, 6, 15)
    shape = load(tmp_path, **parts, X_val=X[30:45], y_val=Y[30:45]).shape
    assert (shape.n_train, shape.n_val, shape.n_test) == (30, 15, 15)


def test_files_of_their_own_bring_test_and_validation_rows(tmp_path: Path) -> None:
    other = {"test": {"X": X[45:], "y": Y[45:]}, "val": {"X": X[30:45], "y": Y[30:45]}}
    dataset = load(tmp_path, other, X=X[:30], y=Y[:30])
    shape = dataset.shape
    assert (shape.n_train, shape.n_val, shape.n_test) == (30, 15, 15)
    assert dataset.open_test().y.tolist() == Y[45:].tolist()


def test_images_are_flattened_and_scaled_alike(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    dataset = load(tmp_path, X=images, y=Y)
    assert dataset.shape.n_features == 60 and dataset.train.x.dtype == np.float32
    assert any(note.startswith("pixels") for note in dataset.shape.notes)


def test_constant_and_zero_one_features_are_left_alone_and_said(tmp_path: Path) -> None:
    x = np.column_stack([X[:, 0] * 9 + 4, np.full(60, 5.0), Y == 1, X[:, 1] > 0])
    dataset = load(tmp_path, X=x, y=Y)
    assert np.array_equal(dataset.train.x[:, 1], np.zeros(38))
    assert set(np.unique(dataset.train.x[:, 2:])) == {0.0, 1.0}
    assert abs(dataset.train.x[:, 0].std() - 1) < 1e-5
    said = " ".join(dataset.shape.notes)
    assert "1 of 4 features standardised" in said and "2 features hold only 0 and 1" in said
    assert "1 features are constant" in said


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["cat", "ant", "bee"])[Y], ("ant", "bee", "cat")),
        (np.array([b"cat", b"ant", b"bee"])[Y], ("ant", "bee", "cat")),
        (Y.astype(float) * 5, ("0", "5", "10")),
        (Y == 1, ("False", "True")),
        (Y.astype(np.uint8) - np.uint8(0), ("0", "1", "2")),
        (Y - 1, ("-1", "0", "1")),
        (Y.astype(np.uint64) + np.uint64(2**63), tuple(str(2**63 + c) for c in range(3))),
    ],
    ids=["texts", "bytes", "whole floats", "booleans", "uint8", "negative", "uint64"],
)
def test_labels_become_class_numbers_in_sorted_order(
    tmp_path: Path, labels: Any, names: tuple[str, ...]
) -> None:
    dataset = load(tmp_path, X=X, y=labels)
    assert dataset.shape.class_names == names
    assert set(dataset.train.y.tolist()) == set(range(len(names)))


def test_class_names_are_used_where_they_fit(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c"])
    assert load(tmp_path, X=X, y=Y, class_names=names).shape.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": X}, "has no y; right is X and y"),
        ({"x": X, "y": Y}, "has no X_train and no y_train.* it holds x, y"),
        ({"X_train": X, "y_train": Y, "X_test": X}, "has no y_test"),
        ({"X": X, "y": Y[:-1]}, "60 rows in X and 59 labels in y"),
        ({"X": X, "y": Y + 0.5}, "60 values are not whole numbers.*regression is still to come"),
        ({"X": X, "y": np.where(Y == 0, np.nan, Y)}, "20 rows have no label"),
        ({"X": X, "y": np.zeros(60, int)}, "only the class '0'; two classes or more"),
        ({"X": X, "y": np.eye(3)[Y]}, "60×3; right is one label per row; one-hot"),
        ({"X": X, "y": Y.astype(complex)}, "y: holds complex"),
        (
            {"X": np.where(X > 2, np.nan, X), "y": Y},
            "NaN or infinite .*, the first in row 26, feature 1",
        ),
        ({"X": np.where(X > 2, np.inf, X), "y": Y}, "NaN or infinite"),
        ({"X": np.where(X > 2, np.inf, X).astype(np.float16), "y": Y}, "NaN or infinite"),
        ({"X": X.astype(str), "y": Y}, "X: holds <U.*, not numbers"),
        ({"X": X[:, 0], "y": Y}, r"X: is 60; right is \[rows, features\]"),
        ({"X": X[:, :0], "y": Y}, "X: is 60×0"),
        ({"X": X, "y": np.r_[np.zeros(58, int), 1, 1]}, "too few rows of a class.*'1' has 2"),
        ({"X": X, "y": Y, "class_names": np.array(["a", "b"])}, "names 2 classes, but labels"),
        ({"X": X, "y": Y, "class_names": np.arange(3)}, "class_names: is no list of texts"),
        ({"X": X, "y": Y, "test_idx": np.array([1, 60])}, r"test_idx: has rows outside 0..59"),
        ({"X": X, "y": Y, "test_idx": np.array([1, -1])}, "test_idx: has rows outside"),
        ({"X": X, "y": Y, "test_idx": np.array([1, 1])}, "test_idx: names a row twice"),
        ({"X": X, "y": Y, "test_idx": np.array([0.5])}, "test_idx: is float64"),
        (
            {"X": X, "y": Y, "test_idx": np.arange(9), "val_idx": np.arange(5, 20)},
            "shares 4 rows with test_idx",
        ),
        ({"X": X, "y": Y, "test_idx": np.arange(0)}, "test: holds no row"),
        (
            {"X": X, "y": Y, "train_idx": np.flatnonzero(Y), "test_idx": np.flatnonzero(Y == 0)},
            "no training row of class '0'",
        ),
        (
            {"X_train": X, "y_train": Y, "X_test": X[:, :2], "y_test": Y},
            r"test: rows are \(2,\), training rows \(3,\)",
        ),
        (
            {"X_train": X, "y_train": Y, "X_test": X, "y_test": Y.astype(str)},
            "y: holds texts in one split and numbers in another",
        ),
        ({"X": X[:0], "y": Y[:0]}, "X: is 0×3"),
    ],
)
def test_a_mistake_is_said_with_what_would_be_right(
    tmp_path: Path, arrays: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        load(tmp_path, **arrays)
    assert caught.value.source == "own.npz"


def test_all_mistakes_of_a_file_come_together(tmp_path: Path) -> None:
    arrays = {"X": np.where(X > 2, np.nan, X), "y": Y + 0.5, "class_names": np.arange(3)}
    with pytest.raises(SpecError) as caught:
        load(tmp_path, **arrays, test_idx=np.array([77]))
    assert {one.pointer for one in caught.value.problems} == {"X", "y", "class_names", "test_idx"}


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    objects = np.array([["a"], ["b"]], dtype=object)
    with pytest.raises(SpecError, match="Python objects .*never loaded"):
        load(tmp_path, X=objects, y=np.arange(2))


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04 cut short", b"\x80\x04K\x01.", b"text"])
def test_a_file_that_is_no_archive_is_said(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(body)
    with pytest.raises(SpecError, match="cannot be read as npz"):
        load_dataset(Source(path=str(tmp_path / "own.npz")), NOWHERE)


def test_one_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "own.npz").open("wb") as stream:
        np.save(stream, X)
    with pytest.raises(SpecError, match="cannot be read as npz: it is one array"):
        load_dataset(Source(path=str(tmp_path / "own.npz")), NOWHERE)


def test_an_archive_with_a_flipped_byte_is_said(tmp_path: Path) -> None:
    load(tmp_path, X=X, y=Y)
    data = bytearray((tmp_path / "own.npz").read_bytes())
    data[400] ^= 0xFF
    (tmp_path / "own.npz").write_bytes(bytes(data))
    with pytest.raises(SpecError, match="cannot be read as npz"):
        load_dataset(Source(path=str(tmp_path / "own.npz")), NOWHERE)


def test_a_target_column_is_not_for_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", X=X, y=Y)
    with pytest.raises(SpecError, match="target: an npz names its labels y"):
        load_dataset(Source(path=str(tmp_path / "own.npz"), target="y"), NOWHERE)
