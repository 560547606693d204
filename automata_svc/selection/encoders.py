"""Training rows as vectors that strategies measure distances between, before any model exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets import Dataset
from automata_svc.datasets.text import words
from automata_svc.errors import Problem, SpecError, UnknownName

WIDTH = 100  # guess: logistic regression on trec6 has .81 of it, .80 without bigrams
RARE = 2  # terms in fewer texts are left out: half the time, nothing lost on trec6 (.808 for .804)
SMALL = 1_000  # below this many texts no term is rare enough to be left out

Kind = Literal["tabular", "text"]


@dataclass(frozen=True)
class Encoder:
    """One way to embed training rows. Deterministic: same rows and seed, same vectors."""

    version: int  # raise it when the same rows give other vectors: artefacts are keyed by it
    kind: Kind  # of dataset
    encode: Callable[[Dataset, int], NDArray[np.float32]]  # (dataset, seed) → [N, d]
    forward_rows: int = 0  # rows run through a network for one training row: 0, there is none


def encode(name: str | None, dataset: Dataset, seed: int) -> NDArray[np.float32]:
    """[N, d] vectors of the training rows; not to be written to (they may be the rows themselves).

    Args:
        name: a row of ENCODERS; None: the default for this kind of dataset.
        seed: of the job; only encoders that draw use it.

    Raises:
        UnknownName: no such encoder.
        SpecError: it is for another kind of dataset, or finds nothing to look at.
    """
    kind = dataset.shape.kind
    chosen = name if name is not None else default_encoder(kind)
    if chosen not in ENCODERS:
        raise UnknownName("encoder", chosen, ENCODERS, pointer="encoder")
    if ENCODERS[chosen].kind != kind:
        fitting = ", ".join(sorted(key for key, one in ENCODERS.items() if one.kind == kind))
        said = f"'{chosen}' is for {ENCODERS[chosen].kind} data, '{dataset.shape.name}' is {kind}"
        raise SpecError(Problem("encoder", f"{said}; right is: {fitting}"))
    return ENCODERS[chosen].encode(dataset, seed)


def default_encoder(kind: str) -> str:
    """The encoder for a kind of dataset, where a job names none."""
    return "tfidf_svd" if kind == "text" else "standardised"


def _standardised(dataset: Dataset, seed: int) -> NDArray[np.float32]:
    """The features as they are trained on: standardised, 0/1 features at unit scale."""
    return np.asarray(dataset.train.x, dtype=np.float32)


def _tfidf_svd(dataset: Dataset, seed: int) -> NDArray[np.float32]:
    """Latent semantic analysis: tf-idf of words and pairs of words, its first singular vectors."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = dataset.texts or ()
    rare = RARE if len(texts) >= SMALL else 1
    tfidf = TfidfVectorizer(
        tokenizer=words,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, 2),
        min_df=rare,
        sublinear_tf=True,
    )
    if not any(words(text) for text in texts):
        raise SpecError(Problem("encoder", "'tfidf_svd' finds no word in the training texts"))
    table = tfidf.fit_transform(texts)
    width = max(1, min(WIDTH, min(table.shape) - 1))
    if table.shape[1] == 1:
        return np.ascontiguousarray(table.toarray(), dtype=np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):  # identical texts have no variance
        vectors = TruncatedSVD(width, random_state=seed % 2**32).fit_transform(table)
    return np.ascontiguousarray(vectors, dtype=np.float32)


ENCODERS: Mapping[str, Encoder] = MappingProxyType(
    {
        "standardised": Encoder(version=1, kind="tabular", encode=_standardised),
        "tfidf_svd": Encoder(version=1, kind="text", encode=_tfidf_svd),
    }
)
