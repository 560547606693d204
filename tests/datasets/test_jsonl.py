"""Texts of a user's own, and words as numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automata_svc.datasets import Dataset, Source, load_dataset
from automata_svc.datasets.text import MAX_LENGTH, fit_vocabulary, words
from automata_svc.errors import SpecError
from automata_svc.settings import Settings

NOWHERE = Settings.from_env({})


def lines(n: int, **more: Any) -> list[Any]:
    kinds = ["ham", "spam"]
    return [
        {"text": f"this is {kinds[i % 2]} number {i}", "label": i % 2, **more} for i in range(n)
    ]


def load(folder: Path, target: str | None = None, **files: list[Any]) -> Dataset:
    paths = {}
    for key, rows in files.items():
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{key}.jsonl").write_text("\n".join(texts))
        paths[key] = str(folder / f"{key}.jsonl")
    return load_dataset(Source(target=target, **paths), NOWHERE)


def test_texts_become_ids_of_the_training_vocabulary(tmp_path: Path) -> None:
    test = [{"text": "This is NEWS!", "label": 0}, {"text": "", "label": 1}]
    dataset = load(tmp_path, path=lines(10), val=lines(4), test=test)
    shape = dataset.shape
    # this, is, number: 10 times; ham, spam: 5 times; each single number: once, left out
    assert (shape.vocabulary, shape.n_features) == (7, 5)
    assert dataset.train.x[0].tolist() == [4, 2, 5, 3, 1]  # by count, then by the alphabet
    assert dataset.open_test().x.tolist() == [[4, 2, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert dataset.texts is not None and dataset.texts[0] == "this is ham number 0"


def test_labels_may_be_texts_under_another_name(tmp_path: Path) -> None:
    rows = [{"text": "a b", "kind": "xy"[i % 2]} for i in range(20)]
    assert load(tmp_path, "kind", path=rows).shape.class_names == ("x", "y")


def test_label_names_are_used_where_all_classes_have_one(tmp_path: Path) -> None:
    rows = [{**row, "label_name": ["good", "bad"][row["label"]]} for row in lines(20)]
    assert load(tmp_path, path=rows).shape.class_names == ("good", "bad")


def test_blank_lines_are_left_out(tmp_path: Path) -> None:
    shape = load(tmp_path, path=[*lines(10), "", "  ", *lines(10)]).shape
    assert shape.n_train + shape.n_val + shape.n_test == 20


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["{"], r"path.jsonl:1: no JSON"),
        (["[" * 100_000], r"path.jsonl:1: no JSON"),
        (["[1]"], r"path.jsonl:1: is no object"),
        ([{"label": 1}], r'path.jsonl:1: has no "text" that is a text; it has: label'),
        ([{"text": 3, "label": 1}], 'has no "text" that is a text'),
        ([{"text": "a", "lable": 1}], 'has no "label"; it has: text, lable'),
        ([{"text": "a", "label": None}], 'has no "label"'),
        ([*lines(9), {"text": "a", "label": "b"}], "texts in some lines and numbers in others"),
        ([], "holds no line"),
        ([{"text": "a", "label": 0.5}] * 9, "not whole numbers.*regression"),
        ([{"text": "a", "label": 1}] * 9, "only the class '1'"),
    ],
)
def test_a_mistake_is_said_with_its_line(tmp_path: Path, rows: list[Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load(tmp_path, path=rows)


def test_many_mistaken_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, path=["{"] * 40, test=[{"text": "a"}])
    assert len(caught.value.problems) == 7  # 5 lines and a count, and one of the other file
    assert "35 more lines" in str(caught.value) and "test.jsonl:1" in str(caught.value)


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_bytes(b"\xff\xfe{}")
    (tmp_path / "own.jsonl.gz").write_bytes(b"no gzip")
    for name in ("own.jsonl", "own.jsonl.gz"):
        with pytest.raises(SpecError, match="cannot be read as jsonl"):
            load_dataset(Source(path=str(tmp_path / name)), NOWHERE)


def test_words_are_lower_case_and_without_punctuation() -> None:
    assert words("Don't PANIC, Été 42?!") == ["don't", "panic", "été", "42"]


def test_one_very_long_text_does_not_make_every_row_long() -> None:
    short = ["two words"] * 99
    assert fit_vocabulary([*short, "word " * 5_000]).length == 2
    assert fit_vocabulary(["word " * 5_000] * 10).length == MAX_LENGTH


def test_texts_without_any_word_still_have_a_shape() -> None:
    vocabulary = fit_vocabulary(["", "?!"])
    assert (vocabulary.length, vocabulary.size) == (1, 2)
    assert vocabulary.apply(["a", ""]).tolist() == [[1], [0]]
