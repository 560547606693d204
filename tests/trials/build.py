"""Small data, orders and a recording driver for tests of trials."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from automata_svc.datasets.types import Shape, Split
from automata_svc.settings import Settings
from automata_svc.trials.data import TrialData
from automata_svc.trials.module import load_module
from automata_svc.trials.segment import run_segment
from automata_svc.trials.templates import Template, find_template
from automata_svc.trials.types import PassTable, Report, SegmentOrder, StrategyOrder

N_TRAIN = 160
N_CLASSES = 4
SEED = 11
SEEN: dict[Any, Any] = {}  # whatever a template under test saw
RATES: list[float] = []  # learning rates that a template under test saw
TRIAL = 3


class MemoryBlobs(dict[str, bytes]):
    """Bytes by key."""

    def put(self, key: str, data: bytes) -> None:
        self[key] = data

    def get(self, key: str) -> bytes:  # type: ignore[override]
        return self[key]


@dataclass
class Driver:
    """Keeps the reports, and stops the trial at a boundary if told to."""

    stop_at: int | None = None
    reports: list[Report] = field(default_factory=list)

    def __call__(self, report: Report) -> str:
        self.reports.append(report)
        return "stop" if report.boundary == self.stop_at else "continue"

    @property
    def passes(self) -> list[Any]:
        return [p for report in self.reports for p in report.passes]

    @property
    def values(self) -> dict[int, Mapping[str, Any] | None]:
        return {report.boundary: report.values for report in self.reports}


def tabular(n_features: int = 6, read_only: bool = True) -> TrialData:
    """Four well separated blobs; arrays are read-only, as shared memory is."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N_CLASSES, n_features)) * 2

    def split(n: int) -> Split:
        y = rng.integers(0, N_CLASSES, n)
        x = (centres[y] + rng.normal(size=(n, n_features))).astype(np.float32)
        for array in (x, y):
            array.flags.writeable = not read_only
        return Split(x, y)

    shape = Shape("blobs", "tabular", N_TRAIN, 60, 50, N_CLASSES, n_features)
    train, val, test = split(N_TRAIN), split(60), split(50)
    return TrialData(shape, train, val, lambda: test)


def text(length: int = 9, vocabulary: int = 30) -> TrialData:
    """Texts whose class is told by which words they use; padded with 0, some of them short."""
    rng = np.random.default_rng(1)

    def split(n: int) -> Split:
        y = rng.integers(0, N_CLASSES, n)
        x = np.zeros((n, length), dtype=np.int32)
        for row, label in enumerate(y):
            words = rng.integers(1, length + 1)
            own = 2 + label * 7 + rng.integers(0, 7, words)
            x[row, :words] = np.where(rng.random(words) < 0.8, own, rng.integers(1, 30, words))
        for array in (x, y):
            array.flags.writeable = False
        return Split(x, y)

    shape = Shape("words", "text", N_TRAIN, 60, 50, N_CLASSES, length, vocabulary=vocabulary)
    train, val, test = split(N_TRAIN), split(60), split(50)
    return TrialData(shape, train, val, lambda: test)


DATA: Mapping[str, Callable[[], TrialData]] = {"tabular": tabular, "text": text}


def template(name: str) -> Template:
    return find_template(name, Settings.from_env())


def module(name: str) -> ModuleType:
    found = template(name)
    return load_module(found.text, found.sha256, found.path)


def module_of(source: str, origin: str = "test_template.py") -> ModuleType:
    """A module from template text written in a test."""
    body = textwrap.dedent(source)
    return load_module(body, hashlib.sha256(body.encode()).hexdigest(), origin)


def order(
    to: int,
    *,
    frm: int = 0,
    strategy: str = "full",
    subset_rows: int = N_TRAIN,
    slices: int = 2,
    epochs: int = 4,
    every: int = 1,
    segment: int = 0,
    **changes: Any,
) -> SegmentOrder:
    base = dict(
        job="job_1",
        trial=TRIAL,
        segment=segment,
        phase="search",
        params={},
        seed=SEED,
        table=PassTable(epochs * N_TRAIN, subset_rows, slices),
        from_boundary=frm,
        to_boundary=to,
        checkpoint=None,
        values_at={to: 0},
        checkpoints_at=(),
        strategy=StrategyOrder(strategy, {}, every, 8),
        finish=0.2,
    )
    return SegmentOrder(**{**base, **changes})


def run(
    what: SegmentOrder,
    code: ModuleType,
    data: TrialData,
    blobs: MemoryBlobs | None = None,
    stop_at: int | None = None,
) -> Driver:
    driver = Driver(stop_at)
    run_segment(what, code, data, MemoryBlobs() if blobs is None else blobs, driver)
    return driver


MLP = '''
"""A tiny template for tests."""
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from automata_svc.trials import TrialParams, weighted_mean
{top}

class Params(TrialParams):
    lr: float = 0.1
    batch_size: int = 16
    epochs: int = 4

def build(params, dataset):
    return nn.Sequential(nn.Linear(dataset.n_features, 8), nn.ReLU(), nn.Linear(8, 4))

def evaluate(model, split):
    with torch.no_grad():
        logits = model(split.x)
        right = (logits.argmax(1) == split.y).float().mean()
    return {{"accuracy": right, "loss": cross_entropy(logits, split.y)}}

def train(trial):
    model = build(trial.params, trial.dataset)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params.lr, momentum=0.9)
    {before}
    for p in trial.passes(model, optimizer):
        for rows, labels, weights in trial.batches(model):
            loss = weighted_mean(cross_entropy(model(rows), labels, reduction="none"), weights)
            {step}
        {report}
'''


def mlp(
    step: str = "trial.step(loss, model, optimizer)",
    report: str = "trial.report(lambda split: evaluate(model, split))",
    before: str = "pass",
    top: str = "",
) -> ModuleType:
    """The tiny template with some of its lines replaced."""
    return module_of(MLP.format(step=step, report=report, before=before, top=top))


def weights_in(blobs: MemoryBlobs, key: str) -> dict[str, Any]:
    """The model's state in a stored checkpoint."""
    import io

    import torch

    body = torch.load(io.BytesIO(blobs[key]), weights_only=True)
    return dict(body["states"][0])


__all__ = [
    "RATES",
    "SEEN",
    "DATA",
    "N_CLASSES",
    "N_TRAIN",
    "SEED",
    "TRIAL",
    "Driver",
    "MemoryBlobs",
    "mlp",
    "module",
    "module_of",
    "order",
    "run",
    "tabular",
    "template",
    "text",
    "weights_in",
]
