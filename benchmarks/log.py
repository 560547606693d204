"""How fast a driver decides and stores, and how fast a log is read back.

    python -m benchmarks.log [--trials 10000] [--reports 20] [--search random] [--scheduler asha]
        [--database postgresql+psycopg://…]

The real core on the simulated runner and a real database: every report is decided on and stored in
a transaction of its own before the next. Without --database: SQLite in a folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automata_svc.database import open_database, this_process
from automata_svc.jobs.drive import DatabaseLog
from automata_svc.trials.types import PassTable, SegmentOrder
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import DriverStart, SubsetBuilt
from automata_svc.tuning.plan import Rung, SearchPlan
from automata_svc.tuning.runners.simulated import HandClock, Simulated


class Hashed:
    """Curves from a hash: cheap, so that what is timed is the core."""

    def values(self, order: SegmentOrder, share: float) -> Mapping[str, Any]:
        value = ((order.trial * 2654435761) % 1000003) / 1000003 * share
        return {"val_accuracy": value, "val_loss": 1 - value}

    def loss(self, order: SegmentOrder, share: float) -> float:
        return 1.0

    def seconds(self, order: SegmentOrder) -> float:
        return 100.0


def plan_of(args: argparse.Namespace, job: str) -> SearchPlan:
    table = PassTable(20_000, 1000, 1)
    shares = (1.0,) if args.scheduler == "fifo" else (0.05, 0.15, 0.45, 1.0)
    rungs = tuple(
        Rung(s, b := table.boundary_at(int(s * 20_000)), table.rows_at(b), s, None) for s in shares
    )
    return SearchPlan(
        job=job, seed=0, metric="val_accuracy", mode="max", loss_metric="val_loss",
        rank_by=("metric", "loss"), n_train=1000, n_val=300, n_test=300, epochs=20, table=table,
        rungs=rungs, trials=args.trials, parallelism=None, scheduler=args.scheduler,
        reduction_factor=3.0, search=args.search, startup_trials=None, start_points=(),
        space={"lr": {"loguniform": [1e-4, 1e-1]}, "hidden": {"choice": [64, 128, 256]}},
        fixed={"epochs": 20}, guards=({"type": "non_finite"}, {"type": "divergence"}),
        strategy="adaptive_random", fraction=1.0, checkpoint_every=1 / args.reports,
        max_failed_trials=10**9,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=20, help="a full trial's")
    parser.add_argument("--search", default="random")
    parser.add_argument("--scheduler", default="fifo", help="fifo gives trials × reports")
    parser.add_argument("--database", help="an SQLAlchemy URL; it is upgraded, and filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = args.database or f"sqlite:///{Path(folder) / 'log.db'}"
        if args.database:
            from automata_svc.database.backends import open_engine
            from automata_svc.database.upgrade import upgrade

            upgrade(*open_engine(url, 10.0))
        run(args, url)


def run(args: argparse.Namespace, url: str) -> None:
    database = open_database(url)
    job = database.create_job(
        name="log", spec="{}", plan="{}", template="{}", created_at=0.0, job_id="job_log"
    )
    plan = plan_of(args, job)
    token = database.take_lease(job, this_process(), 3600.0)
    log = DatabaseLog(database, job, token)
    clock = HandClock()
    marks: list[tuple[int, float, float]] = []  # reports so far, seconds, MiB
    reports = 0
    begun = time.perf_counter()

    def watch(state: Any, events: Any) -> None:
        nonlocal reports
        reports += sum(type(event).__name__ == "Passes" for event in events)
        if reports // 1000 > len(marks):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            marks.append((reports, time.perf_counter() - begun, peak))

    engine = Engine(plan, log, clock, on_events=watch)
    log.state = lambda: engine.state  # so that the projections are written, as a driver does
    engine.handle(DriverStart({}, "sha", 8, "simulated"), SubsetBuilt(None, False, 0.0))
    Simulated(Hashed(), clock).run(engine)
    took = time.perf_counter() - begun
    events = engine.state.seq
    print(f"{args.search} × {args.scheduler}, {args.trials:,} trials: {reports:,} reports, "
          f"{events:,} events in {took:.1f} s = {reports / took:,.0f} reports/s")  # fmt: skip
    first, last = rate(marks[:2]), rate(marks[-2:])
    print(f"first thousand {first:,.0f}/s, last thousand {last:,.0f}/s; "
          f"memory {marks[0][2]:.0f} → {marks[-1][2]:.0f} MiB")  # fmt: skip
    begun = time.perf_counter()
    again = Engine(plan, DatabaseLog(database, job, token), clock)
    read = time.perf_counter() - begun
    assert json.dumps(again.state.price) == json.dumps(engine.state.price)
    print(f"replay of {events:,} events: {read:.1f} s = {events / read:,.0f} events/s")


def rate(marks: list[tuple[int, float, float]]) -> float:
    (n0, t0, _), (n1, t1, _) = marks[0], marks[-1]
    return (n1 - n0) / (t1 - t0) if t1 > t0 else float("nan")


if __name__ == "__main__":
    main()
