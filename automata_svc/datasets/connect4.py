"""Connect-4 (Tromp 1995): all positions after 8 moves, will the first player win, lose or draw?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from automata_svc.datasets.named import Form, NamedSet
from automata_svc.datasets.npz import read_npz
from automata_svc.datasets.raw import Raw
from automata_svc.errors import SpecError

CODES = 3  # of each of the 42 fields: first player, blank, second player


def _read(files: Sequence[Path]) -> Raw:
    raw = read_npz({"train": files[0]})
    codes = np.asarray(raw.x)
    if codes.dtype.kind not in "iu" or codes.ndim != 2 or codes.max() >= CODES:
        raise SpecError("X holds no field codes 0, 1 and 2", source=files[0].name)
    one_hot = (codes[:, :, None] == np.arange(CODES, dtype=codes.dtype)).astype(np.uint8)
    note = f"{codes.shape[1]} fields, one-hot of {CODES} codes each"
    return replace(raw, x=one_hot.reshape(len(codes), -1), notes=(note,))


CONNECT4 = NamedSet(
    name="connect4",
    kind="tabular",
    about="67,557 positions, 126 one-hot features, 3 classes; 54,720 / 6,081 / 6,756",
    get=(
        "The UCI repository publishes it as 'Connect-4'. Put connect4.npz into a folder connect4/ "
        "of a folder that AUTOMATA_DATA_DIRS names: X [67557, 42] codes 0 to 2 (x, b, o), y 0 to 2 "
        "(draw, win, loss), row numbers train_idx, val_idx, test_idx, and class_names."
    ),
    forms=(Form(("connect4.npz",), _read),),
)
