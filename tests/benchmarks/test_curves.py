"""Recording curves: cut off anywhere, it goes on; what is recorded is what a trial does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automata_svc.datasets.types import Shape, Split
from automata_svc.settings import Settings
from automata_svc.trials.data import TrialData
from automata_svc.trials.module import load_module
from automata_svc.trials.templates import find_template
from automata_svc.trials.types import PassTable
from benchmarks import curves
from benchmarks.price_pools import own_pool

N_TRAIN = 192


@pytest.fixture(scope="module")
def bench() -> curves.Bench:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 5)) * 2

    def split(n: int) -> Split:
        y = rng.integers(0, 3, n)
        return Split((centres[y] + rng.normal(size=(n, 5))).astype(np.float32), y)

    test = split(50)
    shape = Shape("blobs", "tabular", N_TRAIN, 60, 50, 3, 5)
    template = find_template(curves.TEMPLATE, Settings.from_env())
    return curves.Bench(
        name="blobs",
        pool=0,
        seed=0,
        data=TrialData(shape, split(N_TRAIN), split(60), lambda: test),
        module=load_module(template.text, template.sha256, template.path),
        defaults={**template.defaults, "epochs": curves.EPOCHS},
        table=PassTable(curves.EPOCHS * N_TRAIN, 32, 1),
    )


def test_a_recording_that_was_cut_off_goes_on_to_the_same_curves(bench, tmp_path):
    whole = curves.record_pool(bench, 3, 2, tmp_path / "whole")
    cut = tmp_path / "cut"
    curves.record_pool(bench, 2, 1, cut)
    (cut / "blobs_pool0" / ".001.npz.1.part").write_bytes(b"half a file")
    again = curves.record_pool(bench, 3, 2, cut)
    with np.load(whole) as one, np.load(again) as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_nothing_that_is_recorded_is_recorded_again(bench, tmp_path):
    curves.record_pool(bench, 2, 1, tmp_path)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "blobs_pool0").iterdir()}
    curves.record_pool(bench, 2, 1, tmp_path)
    assert files == {file: file.stat().st_mtime_ns for file in (tmp_path / "blobs_pool0").iterdir()}


def test_a_pool_reads_back_with_its_shares_and_keeps_the_last_value_of_the_unfinished(
    bench, tmp_path: Path
):
    pool = own_pool(curves.record_pool(bench, 3, 1, tmp_path))
    assert pool.finished is not None and pool.finished.sum() == 1
    assert pool.share[-1] == 1.0 and list(pool.share) == sorted(set(pool.share))
    assert np.isfinite(pool.accuracy).all() and np.isfinite(pool.test[:, -1]).all()
    unfinished = np.flatnonzero(~pool.finished)
    assert (pool.accuracy[unfinished, -6:] == pool.accuracy[unfinished, -7:-6]).all()
    assert (pool.n_train, pool.n_val, pool.n_test, pool.epochs) == (N_TRAIN, 60, 50, 50)


def test_the_best_are_trained_again_with_another_seed_and_only_they(bench, tmp_path: Path):
    first = curves.record_pool(bench, 3, 3, tmp_path / "first")
    second = curves.record_again(replace(bench, seed=7), first, 1, tmp_path / "again")
    with np.load(first) as one, np.load(second) as other:
        best = int(np.argmax(one["val_accuracy"][:, -6:].max(axis=1)))
        trained = np.isfinite(other["val_accuracy"][:, -1])
        assert list(np.flatnonzero(trained)) == [best]
        assert one["train_loss"][best, -1] != other["train_loss"][best, -1]
        np.testing.assert_array_equal(one["config_lr"], other["config_lr"])


def test_configuration_five_is_the_same_however_many_are_recorded():
    assert curves.configuration(0, 5) == curves.configuration(0, 5)
    assert curves.configuration(0, 5) != curves.configuration(1, 5)
    assert curves.configuration(0, 5)["batch_size"] in curves.SIZES
