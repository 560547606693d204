"""The named sets: sizes that others compare with, and the publishers' own files."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automata_svc.datasets import Dataset, load_dataset
from automata_svc.datasets.fashion_mnist import CLASSES
from automata_svc.errors import SpecError
from automata_svc.settings import Settings

SIZES = {
    "digits": (1_150, 288, 359, 10, 64),
    "letter": (10_500, 4_500, 5_000, 26, 16),
    "connect4": (54_720, 6_081, 6_756, 3, 126),
    "fashion_mnist": (48_000, 12_000, 10_000, 10, 784),
    "trec6": (4_965, 500, 500, 6, 16),
}


def load(name: str) -> Dataset:
    return load_dataset(name, Settings.from_env())


def test_digits_need_no_folder() -> None:
    shape = load_dataset("digits", Settings.from_env({})).shape
    assert (shape.n_train, shape.n_val, shape.n_test, shape.n_classes, shape.n_features) == SIZES[
        "digits"
    ]


@pytest.mark.parametrize("name", ["letter", "connect4", "trec6"])
def test_a_named_set_has_the_sizes_that_are_compared_with(
    name: str, data_dirs: tuple[Path, ...]
) -> None:
    shape = load(name).shape
    sizes = (shape.n_train, shape.n_val, shape.n_test, shape.n_classes, shape.n_features)
    assert sizes == SIZES[name]


def test_letter_tests_on_the_last_rows(data_dirs: tuple[Path, ...]) -> None:
    arrays = np.load(data_dirs[0] / "letter" / "letter.npz", allow_pickle=False)
    assert load("letter").open_test().y.tolist() == arrays["y_test"].tolist()


def test_letter_from_ucis_own_table_is_the_same(
    data_dirs: tuple[Path, ...], tmp_path: Path
) -> None:
    arrays = np.load(data_dirs[0] / "letter" / "letter.npz", allow_pickle=False)
    x = np.concatenate([arrays["X_train"], arrays["X_test"]])
    y = arrays["class_names"][np.concatenate([arrays["y_train"], arrays["y_test"]])]
    (tmp_path / "letter").mkdir()
    table = np.column_stack([y, x.astype(str)])
    np.savetxt(tmp_path / "letter" / "letter-recognition.data", table, fmt="%s", delimiter=",")
    own = load_dataset("letter", replace(Settings.from_env(), data_dirs=(tmp_path,)))
    ours = load("letter")
    assert own.shape.class_names == ours.shape.class_names
    assert np.array_equal(own.train.x, ours.train.x)
    assert np.array_equal(own.val.y, ours.val.y)
    assert np.array_equal(own.open_test().x, ours.open_test().x)


def test_a_table_that_is_not_ucis_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter").mkdir()
    for body in ("T,2,8\nI,5,12\n", "T,a,b\nI,5,12\n", "no table"):
        (tmp_path / "letter" / "letter-recognition.data").write_text(body)
        with pytest.raises(SpecError, match=r"letter-recognition\.data: "):
            load_dataset("letter", replace(Settings.from_env({}), data_dirs=(tmp_path,)))


def test_connect4_is_one_hot_of_its_fields(data_dirs: tuple[Path, ...]) -> None:
    arrays = np.load(data_dirs[0] / "connect4" / "connect4.npz", allow_pickle=False)
    x = load("connect4").train.x
    groups = x.reshape(len(x), 42, 3)
    assert (groups.sum(axis=2) == 1).all()
    assert np.array_equal(groups.argmax(axis=2), arrays["X"][arrays["train_idx"]])


def test_trec6_is_automatas_split(data_dirs: tuple[Path, ...]) -> None:
    dataset = load("trec6")
    assert dataset.texts is not None
    assert dataset.texts[0] == "how did serfdom develop in and then leave russia ?"
    assert dataset.shape.class_names == ("DESC", "ENTY", "HUM", "ABBR", "LOC", "NUM")
    known = dataset.open_test().x != 1
    assert known.mean() > 0.8  # test texts meet the training vocabulary


def write_idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def fashion(folder: Path) -> Settings:
    rng = np.random.default_rng(0)
    (folder / "fashion_mnist").mkdir()
    for name, n in (("train", 100), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28))
        write_idx(folder / "fashion_mnist" / f"{name}-images-idx3-ubyte.gz", images)
        labels = np.arange(n) % 10
        write_idx(folder / "fashion_mnist" / f"{name}-labels-idx1-ubyte.gz", labels)
    return replace(Settings.from_env({}), data_dirs=(folder,))


def test_fashion_mnist_is_read_from_its_publishers_files(tmp_path: Path) -> None:
    dataset = load_dataset("fashion_mnist", fashion(tmp_path))
    shape = dataset.shape
    assert (shape.n_train, shape.n_val, shape.n_test, shape.n_features) == (80, 20, 20, 784)
    assert shape.class_names == tuple(sorted(CLASSES, key=CLASSES.index))
    assert dataset.open_test().y.tolist() == [i % 10 for i in range(20)]


@pytest.mark.parametrize(
    "spoil",
    [b"", b"no gzip", gzip.compress(b"\0\0\x0d\x01"), gzip.compress(b"\0\0\x08\x03ab"), None],
)
def test_a_spoilt_idx_file_is_said(tmp_path: Path, spoil: bytes | None) -> None:
    settings = fashion(tmp_path)
    file = tmp_path / "fashion_mnist" / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-500] if spoil is None else spoil)
    with pytest.raises(SpecError, match=r"t10k-images-idx3-ubyte\.gz: "):
        load_dataset("fashion_mnist", settings)
