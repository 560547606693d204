"""Texts as numbers: words counted in the training rows, ids of equal length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN = 0, 1
MIN_COUNT = 2  # guess: a word seen once is learned from one row only
MAX_WORDS = 20_000  # guess: keeps an embedding table below a few MB
MAX_LENGTH = 64  # tokens; bounds a pass over long texts, whose beginning says most
LENGTH_PERCENTILE = 95  # of training lengths: the longest 5 % must not make all rows long

_WORD = re.compile(r"\w+(?:'\w+)?")


def words(text: str) -> list[str]:
    """Lower-case words of a text, digits included, punctuation left out."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """Word → id and the length of a row, from training texts only."""

    ids: Mapping[str, int]  # from 2 on, by falling count
    length: int  # L, tokens kept of each text, from its beginning
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.length

    @property
    def size(self) -> int:
        """Number of ids, padding and unknown included."""
        return len(self.ids) + 2

    def apply(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """int32 [n, L]: ids from the left, 0 behind a short text, 1 for a word not in here."""
        out = np.full((len(texts), self.length), PADDING, dtype=np.int32)
        for row, text in enumerate(texts):
            found = [self.ids.get(word, UNKNOWN) for word in words(text)[: self.length]]
            out[row, : len(found)] = found
        return out


def fit_vocabulary(texts: Sequence[str]) -> Vocabulary:
    """The vocabulary of the training texts; ties in count go by the alphabet."""
    split = [words(text) for text in texts]
    counts = Counter(word for one in split for word in one)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [word for word, count in ranked if count >= MIN_COUNT][:MAX_WORDS]
    lengths = np.array([len(one) for one in split])
    length = int(np.clip(np.ceil(np.percentile(lengths, LENGTH_PERCENTILE)), 1, MAX_LENGTH))
    seen, total = sum(counts[word] for word in kept), max(1, sum(counts.values()))
    notes = [
        f"vocabulary: {len(kept):,} words seen {MIN_COUNT} times or more in training, "
        f"{seen / total:.1%} of its tokens",
        f"{length} tokens kept of each text; {int((lengths > length).sum()):,} of {len(texts):,} "
        "training texts are longer",
    ]
    if empty := int((lengths == 0).sum()):
        notes.append(f"{empty:,} training texts hold no word")
    return Vocabulary({word: number + 2 for number, word in enumerate(kept)}, length, tuple(notes))
