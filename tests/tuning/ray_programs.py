"""What workers run instead of a template in tests of the Ray runner."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automata_svc.trials.data import TrialData
from automata_svc.trials.types import Cost, PassStats, Reply, Report, SegmentOrder, Stat

Send = Callable[[Report], Reply]


def sent(order: SegmentOrder, boundary: int, facts: dict[str, float], value: float) -> Report:
    """A report of the one pass that took the trial there."""
    stat = Stat(0.5, 0.5, 0.5)
    rows = order.table.rows_at(boundary) - order.table.rows_at(order.from_boundary)
    passes = (PassStats(boundary - 1, rows, 1, stat, stat, facts=facts),) if rows else ()
    return Report(
        order.trial, order.segment, boundary, passes,
        values={"val_accuracy": value, "val_loss": 1 - value},
        checkpoint=f"trial {order.trial} at {boundary}",
        cost=Cost(train_rows=rows), done=boundary == order.to_boundary,
    )  # fmt: skip


def cannot_build() -> None:
    raise ValueError("this configuration cannot be built")


def wait_for_ever() -> None:
    threading.Event().wait()


@dataclass(frozen=True)
class Programmed:
    """Sends one report a segment; three trials meet with something on their first try."""

    folder: str  # remembers what has happened already: workers come and go
    raises: int
    is_killed: int
    hangs: int

    def __call__(self, order: SegmentOrder, data: TrialData, send: Send) -> None:
        if order.trial == self.raises:
            cannot_build()
        if order.trial == self.is_killed and self._first("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if order.trial == self.hangs and self._first("hung"):
            wait_for_ever()
        if order.phase == "test":
            assert data.open_test is not None
            report = sent(order, order.to_boundary, {}, 0.5)
            values = {"val_accuracy": 0.5, "test_accuracy": len(data.open_test()) / 200}
            send(Report(**{**vars(report), "values": values}))
            return
        assert data.open_test is None
        x = data.train.x
        facts = {
            "pid": float(os.getpid()),
            "resumed": float(order.checkpoint is not None),
            "writeable": float(x.flags.writeable),
            "owns_memory": float(x.flags.owndata),
            "address": float(x.ctypes.data),
        }
        send(sent(order, order.to_boundary, facts, value=(order.trial + 1) / 20))

    def _first(self, what: str) -> bool:
        try:
            (Path(self.folder) / what).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class Endless:
    """Sends a report and then trains for ever."""

    def __call__(self, order: SegmentOrder, data: TrialData, send: Send) -> None:
        report = sent(order, order.from_boundary + 1, {}, 0.5)
        send(Report(**{**vars(report), "values": None, "done": False}))
        while True:
            time.sleep(0.01)
