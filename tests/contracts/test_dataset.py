"""What every dataset owes, named or from a file: a new row of SOURCES is tested by being there."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from automata_svc.datasets import SOURCES, Dataset, Source, Split, describe, load_dataset
from automata_svc.datasets import load as loading
from automata_svc.datasets.sources import READERS, find
from automata_svc.errors import Damaged, NotFound
from automata_svc.settings import Settings

ROWS = 120  # of the small files written here


def write_npz(folder: Path, shift: float = 0.0) -> Source:
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 5.0, (ROWS, 4)) + shift
    x[:, 2] = rng.integers(0, 2, ROWS)
    x[:, 3] = 7.0
    np.savez(folder / "own.npz", X=x, y=rng.permutation(np.repeat([0, 1, 2], [60, 40, 20])))
    return Source(path=str(folder / "own.npz"))


def write_csv(folder: Path, shift: float = 0.0) -> Source:
    rng = np.random.default_rng(1)
    colours, kinds = rng.choice(["red", "green"], ROWS), rng.choice(["good", "bad"], ROWS)
    values = rng.normal(size=ROWS) + shift
    lines = [f"{v:.6f},{c},{k}" for v, c, k in zip(values, colours, kinds, strict=True)]
    (folder / "own.csv").write_text("\n".join(["value,colour,kind", *lines]))
    return Source(path=str(folder / "own.csv"), target="kind")


def write_jsonl(folder: Path, shift: float = 0.0) -> Source:
    rng = np.random.default_rng(2)
    with gzip.open(folder / "own.jsonl.gz", "wt") as stream:
        for row in range(ROWS):
            words = rng.choice(["what", "who", "where", "is", f"seldom{shift}"], rng.integers(2, 9))
            stream.write(json.dumps({"text": " ".join(words), "label": row % 3}) + "\n")
    return Source(path=str(folder / "own.jsonl.gz"))


WRITERS: dict[str, Callable[..., Source]] = {
    "npz": write_npz,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
ALL = [*SOURCES, *WRITERS]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    return replace(Settings.from_env(), home=home)


@pytest.fixture(scope="module", params=ALL)
def source(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Source:
    if request.param in WRITERS:
        return WRITERS[request.param](tmp_path_factory.mktemp("own"))
    named = Source(name=request.param)
    try:
        find(named, settings)
    except NotFound as absent:
        pytest.skip(str(absent))
    return named


@pytest.fixture(scope="module")
def dataset(source: Source, settings: Settings) -> Dataset:
    return load_dataset(source, settings)


@pytest.fixture(scope="module")
def rows(source: Source, settings: Settings) -> dict[str, np.ndarray]:
    """Row numbers in the source by split."""
    return dict(loading._prepare(find(source, settings)).rows)


@pytest.fixture(scope="module")
def opened(dataset: Dataset) -> Split:
    return dataset.open_test()


def test_every_kind_of_file_is_held_to_this_contract() -> None:
    assert {ending.removesuffix(".gz").lstrip(".") for ending in READERS} == set(WRITERS)


def test_shapes_and_kinds_of_numbers_are_as_promised(dataset: Dataset, opened: Split) -> None:
    shape = dataset.shape
    kind = {"tabular": np.float32, "text": np.int32}[shape.kind]
    parts = (dataset.train, dataset.val, opened)
    for part, n in zip(parts, (shape.n_train, shape.n_val, shape.n_test), strict=True):
        assert part.x.shape == (n, shape.n_features) and part.x.dtype == kind
        assert part.x.flags.c_contiguous
        assert part.y.shape == (n,) and part.y.dtype == np.int64 and len(part) == n
        assert part.y.min() >= 0 and part.y.max() < shape.n_classes
        assert np.isfinite(part.x).all()
        if shape.kind == "text":
            assert part.x.min() >= 0 and part.x.max() < shape.vocabulary
    assert min(shape.n_train, shape.n_val, shape.n_test) > 0
    assert len(shape.class_names) == shape.n_classes == len(set(dataset.train.y.tolist()))
    assert (dataset.texts is not None) == (shape.kind == "text")
    assert dataset.texts is None or len(dataset.texts) == shape.n_train


def test_the_shape_is_plain_data_and_describing_tells_the_same(
    dataset: Dataset, source: Source, settings: Settings
) -> None:
    assert json.loads(json.dumps(asdict(dataset.shape))) is not None
    assert describe(source, settings) == dataset.shape  # its digest too
    assert len(dataset.shape.digest) == 64


def test_no_row_is_in_two_splits(rows: dict[str, np.ndarray]) -> None:
    assert set(rows) == {"train", "val", "test"}
    everything = np.concatenate(list(rows.values()))
    assert len(np.unique(everything)) == len(everything)


def test_a_split_that_was_held_out_has_the_classes_of_training(
    dataset: Dataset, opened: Split
) -> None:
    parts = {"val": dataset.val, "test": opened}
    held_out = [name for name in parts if any(n.startswith(name) for n in dataset.shape.notes)]
    classes = dataset.shape.n_classes
    for name in held_out:
        others = [dataset.train.y] + [parts[one].y for one in held_out]
        share = np.bincount(np.concatenate(others), minlength=classes) / sum(map(len, others))
        counts = np.bincount(parts[name].y, minlength=classes)
        assert np.abs(counts - share * len(parts[name])).max() <= 1.5


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_other_rows_have_another_digest_and_another_folder_has_not(
    kind: str, settings: Settings, tmp_path: Path
) -> None:
    digests = []
    for folder, shift in (("a", 0.0), ("b", 0.0), ("c", 1.0)):
        (tmp_path / folder).mkdir()
        digests.append(describe(WRITERS[kind](tmp_path / folder, shift), settings).digest)
    assert digests[0] == digests[1] != digests[2]


def test_no_two_named_sets_share_a_digest(settings: Settings) -> None:
    found = [name for name, one in SOURCES.items() if one.find(settings.data_dirs)]
    assert len({describe(name, settings).digest for name in found}) == len(found)


def test_features_are_scaled_by_training_rows(dataset: Dataset) -> None:
    if dataset.shape.kind == "text":
        assert dataset.shape.vocabulary > 2
        return
    x = dataset.train.x
    if any("pixels" in note for note in dataset.shape.notes):
        assert abs(x.mean(dtype=float)) < 1e-4 and abs(x.std(dtype=float) - 1) < 1e-4
        return
    binary = ((x == 0) | (x == 1)).all(axis=0)
    assert np.abs(x[:, ~binary].mean(axis=0, dtype=float)).max(initial=0) < 1e-4
    assert np.abs(x[:, ~binary].std(axis=0, dtype=float) - 1).max(initial=0) < 1e-4


def test_loading_leaves_the_test_rows_closed(
    source: Source,
    settings: Settings,
    rows: dict[str, np.ndarray],
    opened: Split,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[np.ndarray] = []
    select = loading._select
    monkeypatch.setattr(loading, "_select", lambda raw, r: (asked.append(r), select(raw, r))[1])
    dataset = load_dataset(source, settings)
    assert asked and all(len(np.intersect1d(one, rows["test"])) == 0 for one in asked)

    carried = pickle.dumps(dataset.open_test)  # opens in another process too
    assert len(carried) < 2_000_000  # the way to the rows, not the rows
    again = pickle.loads(carried)()
    assert np.array_equal(asked[-1], rows["test"])
    assert np.array_equal(again.x, opened.x) and np.array_equal(again.y, opened.y)


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_a_file_that_changed_under_a_job_is_not_tested_on(
    kind: str, settings: Settings, tmp_path: Path
) -> None:
    dataset = load_dataset(WRITERS[kind](tmp_path), settings)
    WRITERS[kind](tmp_path, 1.0)
    with pytest.raises(Damaged, match="changed since it was loaded"):
        dataset.open_test()
