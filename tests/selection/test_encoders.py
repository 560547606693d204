"""Vectors of training rows: the features themselves, or what words texts share."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from automata_svc.datasets import Dataset, Shape, Split, load_dataset
from automata_svc.errors import SpecError, UnknownName
from automata_svc.selection.encoders import ENCODERS, default_encoder, encode
from automata_svc.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def texts(*lines: str) -> Dataset:
    n = len(lines)
    shape = Shape("lines", "text", n, 1, 1, 2, 4, vocabulary=9, digest="0" * 64)
    split = Split(np.zeros((n, 4), np.int32), np.arange(n) % 2)
    return Dataset(shape, split, split, lambda: split, texts=lines)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


DOGS_AND_SHIPS = texts(
    "the dog barks at the cat",
    "a dog and a cat sleep",
    "the cat hunts the dog",
    "ships sail over the sea",
    "the ship crosses the wide sea",
    "sailors love ships and the sea",
)


def test_standardised_is_what_is_trained_on() -> None:
    digits = load_dataset("digits", Settings.from_env({}))
    vectors = encode("standardised", digits, seed=0)
    assert vectors.dtype == np.float32 and np.array_equal(vectors, digits.train.x)
    assert np.array_equal(encode(None, digits, seed=5), vectors)


def test_texts_about_the_same_are_nearer_than_texts_about_something_else() -> None:
    vectors = encode("tfidf_svd", DOGS_AND_SHIPS, seed=0)
    assert vectors.dtype == np.float32 and len(vectors) == 6 and vectors.flags.c_contiguous
    within = cosine(vectors[0], vectors[2]), cosine(vectors[3], vectors[5])
    across = cosine(vectors[1], vectors[3]), cosine(vectors[2], vectors[4])
    assert min(within) > max(across)


def test_the_default_goes_by_the_kind_of_data() -> None:
    assert np.array_equal(
        encode(None, DOGS_AND_SHIPS, seed=1), encode("tfidf_svd", DOGS_AND_SHIPS, seed=1)
    )
    for kind in ("tabular", "text"):
        assert ENCODERS[default_encoder(kind)].kind == kind


def test_another_process_makes_the_same_vectors() -> None:
    code = (
        "import hashlib\n"
        "from tests.selection.test_encoders import DOGS_AND_SHIPS, encode\n"
        "print(hashlib.sha256(encode(None, DOGS_AND_SHIPS, seed=3).tobytes()).hexdigest())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    ours = hashlib.sha256(encode(None, DOGS_AND_SHIPS, seed=3).tobytes()).hexdigest()
    assert run.stdout.strip() == ours


@pytest.mark.parametrize(
    "lines",
    [("word", "word"), ("same two", "same two", "same two"), ("a b", ""), ("one", "two", "three")],
)
def test_hardly_any_text_still_has_finite_vectors(lines: tuple[str, ...]) -> None:
    vectors = encode("tfidf_svd", texts(*lines), seed=0)
    assert vectors.shape[0] == len(lines) and np.isfinite(vectors).all()


def test_texts_without_a_word_are_said() -> None:
    with pytest.raises(SpecError, match="no word"):
        encode("tfidf_svd", texts("...", "?!"), seed=0)


def test_an_encoder_for_another_kind_names_the_right_one() -> None:
    with pytest.raises(
        SpecError, match="is for tabular data, 'lines' is text; right is: tfidf_svd"
    ):
        encode("standardised", DOGS_AND_SHIPS, seed=0)


def test_an_unknown_encoder_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'tfidf_svd'"):
        encode("tfidf_svm", DOGS_AND_SHIPS, seed=0)
