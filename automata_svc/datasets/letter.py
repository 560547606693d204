"""Letter recognition (Frey & Slate 1991): 16 measures of a printed capital, 26 letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from automata_svc.datasets.named import Form, NamedSet
from automata_svc.datasets.npz import read_npz
from automata_svc.datasets.raw import Raw
from automata_svc.errors import SpecError

TRAIN_AND_VAL, VAL, ROWS = 15_000, 4_500, 20_000  # AUTOMATA's sizes: 10,500 + 4,500 and 5,000


def _read(files: Sequence[Path]) -> Raw:
    return replace(read_npz({"train": files[0]}), held_out=VAL)


def _read_uci(files: Sequence[Path]) -> Raw:
    try:
        lines = np.loadtxt(files[0], delimiter=",", dtype=str)
        x = lines[:, 1:].astype(np.uint8)
    except (OSError, ValueError, IndexError) as error:
        raise SpecError(f"is not UCI's table: {error}", source=files[0].name) from error
    if x.shape != (ROWS, 16):
        raise SpecError(f"has {x.shape} values; UCI's has ({ROWS}, 16)", source=files[0].name)
    rows = np.arange(ROWS)
    return Raw(
        x=x,
        y=lines[:, 0],
        splits={"train": rows[:TRAIN_AND_VAL], "test": rows[TRAIN_AND_VAL:]},
        held_out=VAL,
    )


LETTER = NamedSet(
    name="letter",
    kind="tabular",
    about="20,000 printed capitals, 16 measures, 26 classes; 10,500 / 4,500 / last 5,000 rows",
    get=(
        "The UCI repository publishes it as 'Letter Recognition': put letter-recognition.data "
        "into a folder letter/ of a folder that AUTOMATA_DATA_DIRS names."
    ),
    forms=(Form(("letter.npz",), _read), Form(("letter-recognition.data",), _read_uci)),
)
