"""Pools of recorded curves: the shared recordings, our own, and LCBench's surrogate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from automata_svc.selection.types import keyed_rng
from benchmarks.replay import CONFIRMED, Floats, Pool

# On these it was decided: the rung tables on all of them; averaged weights, the first rung's loss
# and equal mini-batches on the first of them. The others came afterwards and are only reported on.
DEVELOPMENT = ("letter_seed1", "connect4_seed0", "fashion_seed0")
RETRAINED = ("letter_seed2",)  # the configurations of letter_seed1, another training seed
OWN_DEVELOPMENT = ("letter_pool1", "connect4_pool0", "connect4_pool1")
HARD = ("trec6_seed0",)

_COLUMNS = ("val_acc", "val_loss", "test_acc")
_EARLY = ("averaged_accuracy", "averaged_loss", "first_accuracy", "first_loss")
_SIZES = ("n_train", "n_val", "n_test", "epochs")


def shared_pool(folder: Path, name: str) -> Pool:
    """A recording of the shared `curves` folder: raw weights, the decayed finish at share 1."""
    with np.load(folder / f"{name}.npz") as z:
        share = z["share"].astype(np.float64)
        columns = {key: z[key][:, :, 0].astype(np.float64) for key in _COLUMNS}
        ends = {key: z[f"decay_{key}"][:, -1, 0].astype(np.float64) for key in columns}
        n_train, n_val, n_test, epochs = (int(z[key]) for key in _SIZES)
        averages = {
            f"averaged_{name}": z[key][:, :, 1].astype(np.float64)  # the horizon of ours, .1
            for name, key in (("accuracy", "val_acc"), ("loss", "val_loss"))
        }
    for key, values in columns.items():
        values[:, -1] = ends[key]
        values[:, -2] = (values[:, -3] + ends[key]) / 2  # .9: half way through the finish
    accuracy, loss, test = columns.values()
    return Pool(name, share, accuracy, loss, test, n_train, n_val, n_test, epochs, **averages)


def own_pool(file: Path) -> Pool:
    """A recording of `benchmarks.curves`. What was not trained to 1 keeps its last value.

    Shares are where the asked ones landed: below one pass, several were the same checkpoint.
    """
    with np.load(file) as z:
        n_train, n_val, n_test, epochs = (int(z[key]) for key in _SIZES)
        rows = z["rows"]
        seen = np.isfinite(rows).any(axis=0)
        share = np.nanmax(rows[:, seen], axis=0) / (epochs * n_train)
        accuracy, loss, test = (
            z[key][:, seen] for key in ("val_accuracy", "val_loss", "test_accuracy")
        )
        early = {name: z[name][:, seen] if name in z else None for name in _EARLY}
    finished = np.isfinite(accuracy[:, -1])
    last = len(share) - len(CONFIRMED) - 1
    for values in (accuracy, loss, test):
        values[~finished, last + 1 :] = values[~finished, last : last + 1]
    name = f"own {file.stem}"
    sizes = (n_train, n_val, n_test, epochs)
    return Pool(name, share, accuracy, loss, test, *sizes, finished=finished, **early)


def lcbench_pools(folder: Path, configurations: int = 81) -> Iterator[Pool]:
    """The surrogate's 34 tasks: 52 epochs of annealed training, validation accuracy, no noise.

    Evaluation is free here (one validation row), and there is no test accuracy: regret is in points
    of validation accuracy. Shares below one epoch show the value of epoch 1.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
    space = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
    tasks = next(h["choices"] for h in space if h["name"] == "OpenML_task_id")
    ranges = {h["name"]: h for h in space if "lower" in h}
    epochs = np.arange(1, 53)
    for task in tasks:
        draws = _surrogate_rows(ranges, configurations, task)
        rows = np.repeat(draws, len(epochs), axis=0)
        rows = np.column_stack([np.tile(epochs, configurations), rows]).astype(np.float32)
        feed = {"x_cat": np.full((len(rows), 1), codes[task], np.int32), "x_cont": rows}
        out = session.run(None, feed)[0].reshape(configurations, len(epochs), -1)
        accuracy = out[:, :, 1].astype(np.float64) / 100
        loss = out[:, :, 2].astype(np.float64)
        yield Pool(
            f"lcbench {task}", epochs / 52, accuracy, loss, accuracy,
            n_train=10_000, n_val=1, n_test=1, epochs=52,
        )  # fmt: skip


def _surrogate_rows(ranges: dict[str, Any], count: int, task: str) -> Floats:
    """[count, 7] configurations in the order the surrogate takes them."""
    order = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units",
             "max_dropout")  # fmt: skip
    rng = keyed_rng(0, "lcbench", task)
    columns = []
    for name in order:
        low, high = ranges[name]["lower"], ranges[name]["upper"]
        if ranges[name]["log"]:
            values = np.exp(rng.uniform(np.log(low), np.log(high), count))
        else:
            values = rng.uniform(low, high, count)
        whole = ranges[name]["type"].endswith("int")
        columns.append(np.round(values) if whole else values)
    return np.column_stack(columns)
