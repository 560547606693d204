"""The tables and the picture, from a folder with one recording and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from automata_svc.jobs.recipes import RECIPES
from benchmarks import price
from tests.benchmarks.build import make_pool


def test_tables_and_picture_come_from_whatever_recordings_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pool = make_pool(configurations=54, diverged=0)
    rows = np.tile(np.round(pool.share * pool.epochs * pool.n_train), (len(pool), 1))
    np.savez(
        tmp_path / "letter_pool7.npz", rows=rows, val_accuracy=pool.accuracy, val_loss=pool.loss,
        test_accuracy=pool.test, n_train=pool.n_train, n_val=pool.n_val, n_test=pool.n_test,
        epochs=pool.epochs,
    )  # fmt: skip
    picture = tmp_path / "price.png"
    words = ["price", "--jobs", "2", "--own", str(tmp_path), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setenv("AUTOMATA_DATA_DIRS", str(tmp_path / "absent"))
    price.main()
    text = capsys.readouterr().out
    assert "no shared recordings" in text
    assert "## own letter_pool7 (report)" in text
    for recipe in RECIPES:
        assert f"| recipe {recipe} |" in text
    assert "| ≤ 2.5 | own letter_pool7 (report) | two-finalists |" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
