"""Full-length learning curves of our own template: `python -m benchmarks.curves letter --out DIR`.

Random configurations are trained through `run_segment`, as a job's trials are: the search's pass
table and `adaptive_random` up to share .32, then all rows by epoch, with the decayed finish. Every
configuration goes to .32, the best of them to 1. One file a configuration, written whole or not
at all: a run that is cut off goes on where it was, and a larger `--best` takes up what is there.

    DIR/letter_pool0/007.npz       configuration 7 to share .32, with its checkpoint
    DIR/letter_pool0/007-end.npz   its second part, to share 1
    DIR/letter_pool0.npz           all of them, what `benchmarks.price` reads

Test accuracy is recorded beside validation: this is the one place that may look at it at any time.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automata_svc.datasets import load_dataset
from automata_svc.jobs.rungs import pass_table, subset_rows
from automata_svc.selection.types import keyed_rng
from automata_svc.settings import Settings
from automata_svc.trials.data import TrialData
from automata_svc.trials.module import load_module
from automata_svc.trials.segment import run_segment
from automata_svc.trials.templates import find_template
from automata_svc.trials.types import PassTable, Report, SegmentOrder, StrategyOrder

TEMPLATE = "tabular_mlp"
EPOCHS = 50
FRACTION = 0.1  # of the search's subset, as in a job that says nothing
FIRST_SHARE = 0.0025  # the first rung that the pass table is cut for
FIRST_ROWS = 1000  # a first-rung value is taken on at most so many validation rows
FIRST_UNTIL = 0.006  # up to here averaged weights are looked at on FIRST_ROWS, then on all rows
SEARCH_END = 0.32
FINISH = 0.2
SIZES = (32, 64, 128, 256)
# √2 apart from .0008, and every share that a recipe of jobs/recipes.py or an arm asks for.
GRID = tuple(0.0025 * 2 ** (k / 2) for k in range(-3, 14))
RUNGS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24, SEARCH_END)
SEARCH_SHARES = tuple(sorted({round(share, 6) for share in (*GRID, *RUNGS)}))
END_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHARES = (*SEARCH_SHARES, *END_SHARES)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Bench:
    """A dataset with what is trained on it."""

    name: str
    pool: int  # draws the configurations
    seed: int  # of their training
    data: TrialData
    module: ModuleType
    defaults: Mapping[str, Any]
    table: PassTable


def make_bench(name: str, pool: int, settings: Settings, seed: int | None = None) -> Bench:
    dataset = load_dataset(name, settings)
    template = find_template(TEMPLATE, settings)
    shape = dataset.shape
    total = EPOCHS * shape.n_train
    rows = subset_rows(FRACTION, shape.n_train, max(SIZES))
    return Bench(
        name=name,
        pool=pool,
        seed=pool if seed is None else seed,
        data=TrialData(shape, dataset.train, dataset.val, dataset.open_test),
        module=load_module(template.text, template.sha256, template.path),
        defaults={**template.defaults, "epochs": EPOCHS},
        table=pass_table(total, rows, FIRST_SHARE, max(SIZES)),
    )


def configuration(pool: int, number: int) -> dict[str, Any]:
    """Configuration `number` of a pool: the same whatever else is recorded."""
    rng = keyed_rng(pool, number, "curves")
    return {
        "lr": float(np.exp(rng.uniform(math.log(3e-4), math.log(2e-1)))),
        "weight_decay": float(np.exp(rng.uniform(math.log(1e-6), math.log(1e-2)))),
        "hidden": int(rng.choice(SIZES)),
        "batch_size": int(rng.choice(SIZES)),
    }


class _Blobs(dict[str, bytes]):
    def put(self, key: str, data: bytes) -> None:
        self[key] = data

    def get(self, key: str) -> bytes:  # type: ignore[override]
        return self[key]


# ---- one configuration ---------------------------------------------------------------------------


def record_search(bench: Bench, number: int) -> Arrays:
    """Up to SEARCH_END, with the checkpoint it goes on from."""
    table = bench.table
    marks = _marks(table, SEARCH_SHARES)
    rows = {b: FIRST_ROWS if share <= FIRST_UNTIL else 0 for b, share in marks.items()}
    found, blobs = _record(
        bench, number, "search", table, 0, marks, StrategyOrder("adaptive_random"), rows
    )
    last = max(blobs, key=_boundary_of, default=None)  # None: diverged before the first mark
    found["checkpoint"] = np.frombuffer(b"" if last is None else blobs[last], dtype=np.uint8)
    return found


def record_end(bench: Bench, number: int, checkpoint: bytes) -> Arrays:
    """From SEARCH_END to 1, as a confirmation trains: all rows by epoch, and the finish."""
    start = max(_marks(bench.table, SEARCH_SHARES))
    rows = bench.table.rows_at(start)
    table = PassTable(bench.table.total_rows, bench.data.shape.n_train, 1, start, rows)
    marks = _marks(table, END_SHARES)
    found, _ = _record(
        bench, number, "confirm", table, start, marks, StrategyOrder("full"), {}, checkpoint
    )
    return found


def _marks(table: PassTable, shares: Sequence[float]) -> dict[int, float]:
    """Boundary → the share asked for, landed as rungs land; of those that coincide, the largest."""
    return {
        table.boundary_at(max(1, int(share * table.total_rows + 1e-6))): share
        for share in sorted(shares)
    }


def _record(
    bench: Bench,
    number: int,
    phase: Any,
    table: PassTable,
    start: int,
    marks: Mapping[int, float],
    strategy: StrategyOrder,
    rows: Mapping[int, int],  # boundary → validation rows of averaged weights' value; 0: all
    checkpoint: bytes | None = None,
) -> tuple[Arrays, _Blobs]:
    """Trains from `start` through the marks; then looks at each checkpoint on all rows."""
    blobs = _Blobs()
    reports: list[Report] = []
    if checkpoint is not None:
        blobs["start"] = checkpoint

    def keep(report: Report) -> Any:
        reports.append(report)
        return "continue"

    def order(phase: Any, frm: int, to: int, key: str | None, values: Mapping[int, int]) -> Any:
        return SegmentOrder(
            job=f"curves-{bench.name}", trial=number, segment=0, phase=phase,
            params={**bench.defaults, **configuration(bench.pool, number)}, seed=bench.seed,
            table=table, from_boundary=frm, to_boundary=to, checkpoint=key, values_at=values,
            checkpoints_at=tuple(marks), strategy=strategy, finish=FINISH,
            average=bool(rows),
        )  # fmt: skip

    before = time.perf_counter()
    key = None if checkpoint is None else "start"
    run_segment(order(phase, start, max(marks), key, rows), bench.module, bench.data, blobs, keep)
    seconds = time.perf_counter() - before
    blobs.pop("start", None)
    lines = []
    for report in list(reports):
        if report.trip is not None:
            break  # the rest stays NaN: a diverged trial has no values
        look = order("test", report.boundary, report.boundary, report.checkpoint, {})
        run_segment(look, bench.module, bench.data, blobs, keep)
        early = _line(report, table, marks, rows.get(report.boundary) == 0)
        lines.append({**early, **(reports[-1].values or {})})
    found = _columns(lines, len(marks))
    found["seconds"] = np.array(seconds)
    return found, blobs


def _line(
    report: Report, table: PassTable, marks: Mapping[int, float], all_rows: bool
) -> dict[str, float]:
    losses = [p.loss.median for p in report.passes if p.loss is not None]
    norms = [p.grad_norm.median for p in report.passes if p.grad_norm is not None]
    values = report.values or {}
    kind = "averaged" if all_rows else "first"
    return {
        "share": marks[report.boundary],
        "rows": table.rows_at(report.boundary),
        "train_loss": float(np.mean(losses)) if losses else math.nan,
        "grad_norm": float(np.mean(norms)) if norms else math.nan,
        f"{kind}_accuracy": values.get("val_accuracy", math.nan),
        f"{kind}_loss": values.get("val_loss", math.nan),
    }


COLUMNS = ("share", "rows", "train_loss", "grad_norm", "first_accuracy", "first_loss",
           "averaged_accuracy", "averaged_loss",
           "val_accuracy", "val_loss", "test_accuracy")  # fmt: skip


def _columns(lines: Sequence[Mapping[str, float]], length: int) -> Arrays:
    out: Arrays = {}
    for name in COLUMNS:
        column = np.full(length, np.nan)
        column[: len(lines)] = [line.get(name, math.nan) for line in lines]
        out[name] = column
    return out


def _boundary_of(key: str) -> int:
    return int(key.rsplit("/", 1)[1].split("-")[0])


# ---- many ----------------------------------------------------------------------------------------


def record_pool(bench: Bench, count: int, best: int, out: Path) -> Path:
    """Records what is not recorded yet, and gathers it."""
    folder = out / f"{bench.name}_pool{bench.pool}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        _record_search(bench, number, folder)
    for number in promising(folder, count)[:best]:
        _record_end(bench, number, folder)
    return gather(bench, count, folder)


def record_again(bench: Bench, first: Path, best: int, out: Path) -> Path:
    """The configurations that ended best in a recording, trained a second time: for its floor."""
    with np.load(first) as found:
        reached = np.nan_to_num(found["val_accuracy"][:, -len(END_SHARES) :], nan=-1.0).max(axis=1)
    folder = out / f"{bench.name}_pool{bench.pool}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in map(int, np.argsort(-reached, kind="stable")[:best]):
        _record_search(bench, number, folder)
        _record_end(bench, number, folder)
    return gather(bench, len(reached), folder)


def _record_search(bench: Bench, number: int, folder: Path) -> None:
    file = folder / f"{number:03d}.npz"
    if not file.exists():
        found = record_search(bench, number)
        _save(file, found)
        _say(bench, number, found, SEARCH_END)


def _record_end(bench: Bench, number: int, folder: Path) -> None:
    file = folder / f"{number:03d}-end.npz"
    if not file.exists():
        with np.load(folder / f"{number:03d}.npz") as start:
            checkpoint = start["checkpoint"].tobytes()
        found = record_end(bench, number, checkpoint)
        _save(file, found)
        _say(bench, number, found, 1.0)


def promising(folder: Path, count: int) -> list[int]:
    """Configurations by the best of their ranks at SEARCH_END: whoever may still win."""
    values = np.full((4, count), np.nan)
    for number in range(count):
        with np.load(folder / f"{number:03d}.npz") as found:
            values[:, number] = [
                -found["averaged_accuracy"][-1], -found["val_accuracy"][-1],
                found["averaged_loss"][-1], found["val_loss"][-1],
            ]  # fmt: skip
    accuracy = values[1]
    ranks = np.argsort(np.argsort(np.nan_to_num(values, nan=np.inf), axis=1), axis=1)
    order = np.lexsort((ranks[0], ranks.min(axis=0)))
    return [int(number) for number in order if np.isfinite(accuracy[number])]


def gather(bench: Bench, count: int, folder: Path) -> Path:
    """One file of a pool. Letters: m configurations, S shares; NaN where nothing was trained."""
    shape = bench.data.shape
    columns = {name: np.full((count, len(SHARES)), np.nan) for name in COLUMNS}
    for number in range(count):
        parts = [folder / f"{number:03d}.npz", folder / f"{number:03d}-end.npz"]
        for file, at in zip(parts, (0, len(SEARCH_SHARES)), strict=True):
            if not file.exists():
                continue
            with np.load(file) as found:
                shares = found["share"]
                for name in COLUMNS:
                    for share, value in zip(shares, found[name], strict=True):
                        if np.isfinite(share):
                            columns[name][number, at + _column(share, at)] = value
    configs = [configuration(bench.pool, number) for number in range(count)]
    whole: Arrays = {f"config_{k}": np.array([c[k] for c in configs]) for k in configs[0]}
    whole |= {name: columns[name] for name in COLUMNS if name != "share"}
    whole["share"] = np.array(SHARES)
    whole |= {
        "n_train": np.array(shape.n_train),
        "n_val": np.array(shape.n_val),
        "n_test": np.array(shape.n_test),
        "epochs": np.array(EPOCHS),
    }
    file = folder.with_suffix(".npz")
    _save(file, whole)
    return file


def _column(share: float, at: int) -> int:
    shares = END_SHARES if at else SEARCH_SHARES
    return int(np.argmin(np.abs(np.array(shares) - share)))


def _save(file: Path, arrays: Arrays) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _say(bench: Bench, number: int, found: Arrays, share: float) -> None:
    accuracy = found["val_accuracy"][-1]
    print(
        f"{bench.name} pool {bench.pool} configuration {number}: {found['seconds']:.1f} s to "
        f"share {share:g}, validation accuracy {accuracy:.4f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", nargs="+", help="letter, connect4, fashion_mnist, …")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pool", type=int, default=0, help="another pool, other configurations")
    parser.add_argument("--configurations", type=int, default=81)
    parser.add_argument("--best", type=int, default=20, help="how many are trained to share 1")
    parser.add_argument("--again", type=Path, help="a recording whose best are trained again")
    parser.add_argument("--seed", type=int, help="of the training; default: the pool's number")
    asked = parser.parse_args()
    for name in asked.dataset:
        bench = make_bench(name, asked.pool, Settings.from_env(), asked.seed)
        if asked.again is not None:
            file = record_again(bench, asked.again, asked.best, asked.out)
        else:
            file = record_pool(bench, asked.configurations, asked.best, asked.out)
        print(file, flush=True)


if __name__ == "__main__":
    main()
