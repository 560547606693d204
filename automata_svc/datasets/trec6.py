"""TREC questions (Li & Roth 2002): what kind of answer does a question ask for? Six kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from automata_svc.datasets.jsonl import read_jsonl
from automata_svc.datasets.named import Form, NamedSet
from automata_svc.datasets.raw import Raw


def _read(files: Sequence[Path]) -> Raw:
    train, val, test = files
    return read_jsonl({"train": train, "val": val, "test": test})


TREC6 = NamedSet(
    name="trec6",
    kind="text",
    about="5,965 questions, 6 classes; AUTOMATA's split 4,965 / 500 / the official 500",
    get=(
        "Li and Roth publish the questions; the split is that of the TREC files in "
        "github.com/awasthiabhijeet/Learning-From-Rules. Put automata_train.jsonl.gz, "
        "automata_valid.jsonl.gz and test.jsonl.gz, lines of text, label (0 to 5) and label_name, "
        "into a folder trec6/ of a folder that AUTOMATA_DATA_DIRS names."
    ),
    forms=(Form(("automata_train.jsonl.gz", "automata_valid.jsonl.gz", "test.jsonl.gz"), _read),),
)
