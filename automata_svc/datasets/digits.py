"""Handwritten digits, 8×8 pixels: small, and shipped with scikit-learn."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from automata_svc.datasets.named import Form, NamedSet
from automata_svc.datasets.raw import Raw


@cache  # to look takes the lock of all imports, for which threads that plan jobs would queue up
def _shipped() -> Path | None:
    """scikit-learn's folder of data files, without importing it (that takes most of a second)."""
    spec = importlib.util.find_spec("sklearn")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) / "datasets" / "data" if places else None


def _read(files: Sequence[Path]) -> Raw:
    table = np.loadtxt(files[0], delimiter=",", dtype=np.uint8)  # 64 pixels 0..16, then the digit
    return Raw(x=table[:, :-1].reshape(-1, 8, 8), y=table[:, -1], scaling="pixels")


DIGITS = NamedSet(
    name="digits",
    kind="tabular",
    about="1,797 handwritten digits of 8×8 pixels, 10 classes; 20 % test, 20 % of the rest val",
    get="It comes with scikit-learn (pip install scikit-learn).",
    forms=(
        Form(("digits.csv.gz",), _read, folder=_shipped),
        Form(("digits.csv.gz",), _read),
    ),
)
