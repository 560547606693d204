"""Rows as tensors: shared memory is left alone, and a limit takes a fair and fixed sample."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.datasets.types import Split
from automata_svc.trials.data import alias, stratified_rows
from tests.trials.build import tabular, text


def test_a_read_only_array_is_wrapped_without_a_copy_or_a_warning():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    array.flags.writeable = False
    tensor = alias(array)
    assert tensor.data_ptr() == array.ctypes.data
    assert tensor.tolist() == array.tolist()
    assert not array.flags.writeable


def test_the_memory_lives_as_long_as_the_tensor():
    array = np.full((1000, 100), 7, dtype=np.int64)
    array.flags.writeable = False
    tensor = alias(array)
    del array
    gc.collect()
    junk = [np.zeros((1000, 100), dtype=np.int64) for _ in range(5)]
    assert bool((tensor == 7).all()) and len(junk) == 5


@pytest.mark.parametrize("make", [lambda a: a[::2], lambda a: a[:0], lambda a: a.T])
def test_slices_and_empty_arrays_are_wrapped_too(make):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    array.flags.writeable = False
    assert alias(make(array)).tolist() == make(array).tolist()


def test_rows_to_evaluate_on_are_the_templates_own_to_hold():
    data = tabular()
    split = data.val_split(0, 1)
    assert split.x.data_ptr() != data.val.x.ctypes.data
    assert split is data.val_split(0, 2)
    assert torch.equal(torch.cat([x for x, _ in split.batches(7)]), split.x)
    assert [len(y) for _, y in split.batches(25)] == [25, 25, 10]
    assert len(split) == 60


def test_texts_keep_their_ids():
    data = text()
    assert data.val_split(0, 1).x.dtype == torch.int32
    assert data.train_tensors()[1].dtype == torch.int64


def test_a_limit_is_the_same_for_the_job_and_ignored_above_the_number_of_rows():
    data, other = tabular(), tabular()
    assert torch.equal(data.val_split(20, 5).x, other.val_split(20, 5).x)
    assert not torch.equal(data.val_split(20, 5).x, data.val_split(20, 6).x)
    assert data.val_split(60, 5) is data.val_split(0, 5)
    assert data.val_split(1000, 5) is data.val_split(0, 5)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    limit=st.integers(1, 80),
    seed=st.integers(0, 5),
)
def test_a_limited_sample_is_nested_distinct_and_keeps_the_classes_in_proportion(
    labels, limit, seed
):
    y = np.array(labels, dtype=np.int64)
    rows = stratified_rows(y, limit, seed)
    n = min(limit, len(y))
    assert len(set(rows.tolist())) == len(rows) == n
    assert set(stratified_rows(y, max(1, limit // 2), seed)) <= set(rows)
    shares = np.bincount(y[rows], minlength=5) - np.bincount(y, minlength=5) * n / len(y)
    assert np.abs(shares).max() <= 3  # within each class's own rounding and those of the others


def test_many_small_classes_do_not_crowd_out_a_large_one():
    y = np.repeat(np.arange(11), [900, *[10] * 10])
    assert (
        np.bincount(y[stratified_rows(y, 20, 0)])[0] == 20
    )  # each small share, .2 of a row, rounds to 0


def test_replacing_the_test_rows_keeps_the_tensors_already_made():
    data = tabular()
    x, _ = data.train_tensors()
    assert replace(data, open_test=None).train_tensors()[0] is x


def test_a_writable_array_is_wrapped_as_it_is():
    array = np.zeros((2, 3), dtype=np.float32)
    assert alias(array).data_ptr() == array.ctypes.data
    assert len(Split(array, np.zeros(2, dtype=np.int64))) == 2
