"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): grey pictures of clothes, 28×28 pixels."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets.named import Form, NamedSet
from automata_svc.datasets.npz import read_npz
from automata_svc.datasets.raw import Raw
from automata_svc.datasets.rows import stack
from automata_svc.errors import SpecError

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def _read(files: Sequence[Path]) -> Raw:
    return read_npz({"train": files[0]})


def _read_idx(files: Sequence[Path]) -> Raw:
    x_train, y_train, x_test, y_test = (_idx(file) for file in files)
    x, y, splits = stack({"train": (x_train, y_train), "test": (x_test, y_test)})
    return Raw(x=x, y=y, splits=splits, class_names=CLASSES, scaling="pixels")


def _idx(path: Path) -> NDArray[Any]:
    """An array of LeCun's IDX format: 0, 0, type 8 (bytes), dimensions, their sizes, the bytes."""
    try:
        with gzip.open(path) as stream:
            raw = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"cannot be read: {error}", source=path.name) from error
    try:
        if raw[:3] != b"\0\0\x08":
            raise ValueError("it does not begin as one")
        shape = tuple(np.frombuffer(raw, ">u4", count=raw[3], offset=4).tolist())
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
    except (ValueError, IndexError) as error:
        raise SpecError(f"is no IDX file of bytes: {error}", source=path.name) from error


FASHION_MNIST = NamedSet(
    name="fashion_mnist",
    kind="tabular",
    about="70,000 pictures of clothes of 28×28 pixels, 10 classes; 48,000 / 12,000 / 10,000",
    get=(
        "Zalando Research publishes it (github.com/zalandoresearch/fashion-mnist): put its four "
        "*-ubyte.gz files into a folder fashion_mnist/ of a folder that AUTOMATA_DATA_DIRS names."
    ),
    forms=(
        Form(("fashion_mnist.npz",), _read),
        Form(
            (
                "train-images-idx3-ubyte.gz",
                "train-labels-idx1-ubyte.gz",
                "t10k-images-idx3-ubyte.gz",
                "t10k-labels-idx1-ubyte.gz",
            ),
            _read_idx,
        ),
    ),
)
