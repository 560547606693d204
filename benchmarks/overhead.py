"""What a trial costs besides its training: `python -m benchmarks.overhead [--trials 100]`.

No-op trials with one report each, on as many workers as there are cores. Each row is timed in a
process of its own, from before Ray is imported:

    ours                 the Ray runner, with a whole engine and its event log (in memory)
    ours, 20 reports     the same, but a trial reports 20 times: what a report costs
    raw, actors reused   `ray.tune.Tuner` with a class Trainable and reuse_actors=True
    raw, as it comes     `ray.tune.Tuner` with the same class and its defaults: a worker a trial

Workers of ours import torch, since trials train; those of raw Tune do not, which
is to their advantage. Raw Tune's loggers and progress output are off in both rows.
Goals: at most 0.03 s a trial of ours once the first has reported, first report within 12 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0",
         "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}  # fmt: skip


def ours(trials: int, began: float, reports: int = 1) -> dict[str, float]:
    from automata_svc.datasets.types import Dataset, Shape, Split
    from automata_svc.trials.types import PassTable
    from automata_svc.tuning.runners.ray import RayRunner
    from automata_svc.tuning.runners.ray_host import RayHost

    host = RayHost()
    host.prewarm()
    from automata_svc.tuning import events as ev
    from automata_svc.tuning.engine import Engine
    from automata_svc.tuning.inputs import DriverStart, SubsetBuilt
    from automata_svc.tuning.memory_log import MemoryLog
    from automata_svc.tuning.plan import Rung, SearchPlan

    rows = Split(np.zeros((100, 4), np.float32), np.zeros(100, np.int64))
    dataset = Dataset(Shape("zeros", "tabular", 100, 100, 100, 2, 4), rows, rows, lambda: rows)
    plan = SearchPlan(
        job="job_overhead", seed=0, metric="val_accuracy", mode="max", loss_metric="val_loss",
        rank_by=("metric",), n_train=100, n_val=100, n_test=100, epochs=reports,
        table=PassTable(100 * reports, 100, 1),
        rungs=(Rung(1.0, reports, 100 * reports, 1.0, None),), trials=trials,
        parallelism=None, scheduler="fifo", reduction_factor=3.0, search="random",
        startup_trials=None, start_points=(), space={"lr": {"loguniform": [1e-4, 1e-1]}},
        fixed={}, guards=(), strategy="adaptive_random", fraction=1.0, confirm=False,
    )  # fmt: skip
    times: list[float] = []

    def reported(state: Any, events: Any) -> None:
        times.extend(time.time() for event in events if isinstance(event, ev.Passes))

    engine = Engine(plan, MemoryLog(), time.time, on_events=reported)
    runner = RayRunner(no_op, dataset, host=host)
    engine.handle(DriverStart({}, "", runner.slots(plan), "ray"), SubsetBuilt(None, False, 0.0))
    runner.run(engine)
    return figures(began, times)


def no_op(order: Any, data: Any, send: Callable[[Any], Any]) -> None:
    from automata_svc.trials.types import Cost, Report

    last = order.to_boundary
    for boundary in range(order.from_boundary + 1, last + 1):
        over = boundary == last
        values = {"val_accuracy": 0.5} if over else None
        send(Report(order.trial, order.segment, boundary, (), values, None, Cost(), done=over))


def raw(trials: int, began: float, *, reuse: bool) -> dict[str, float]:
    os.environ.update(QUIET)
    import ray
    from ray import tune

    class NoOp(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            """Nothing."""

        def step(self) -> dict[str, Any]:
            return {"accuracy": 0.5}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

    times: list[float] = []

    class Clock(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, **info: Any) -> None:
            times.append(time.time())

    ray.init(
        address="local", num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False,
        log_to_driver=False, logging_level=logging.ERROR,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        tune.Tuner(
            NoOp,
            param_space={"lr": tune.loguniform(1e-4, 1e-1)},
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=reuse),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                stop={"training_iteration": 1},
                callbacks=[Clock()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    ray.shutdown()
    return figures(began, times)


def figures(began: float, times: list[float]) -> dict[str, float]:
    return {
        "first": times[0] - began,
        "each": (times[-1] - times[0]) / max(1, len(times) - 1),
        "whole": time.time() - began,
        "trials": len(times),
    }


ROWS: Mapping[str, Callable[[int, float], dict[str, float]]] = {
    "ours": ours,
    "ours, 20 reports each": lambda trials, began: ours(trials, began, reports=20),
    "raw, actors reused": lambda trials, began: raw(trials, began, reuse=True),
    "raw, as it comes": lambda trials, began: raw(trials, began, reuse=False),
}
FEWER = {"raw, as it comes": 12}  # a worker for each trial takes seconds; the rate needs no more


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--row", choices=sorted(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(ROWS[args.row](args.trials, args.began)))
        return
    load = os.getloadavg()[0]
    print(f"no-op trials on {len(os.sched_getaffinity(0))} cores (load before: {load:.1f})\n")
    print(
        f"  {'':20}{'trials':>7}{'first report':>14}{'s a trial':>11}{'trials/s':>10}{'whole':>9}"
    )
    for name in ROWS:
        trials = min(args.trials, FEWER.get(name, args.trials))
        command = [sys.executable, "-m", "benchmarks.overhead", "--row", name]
        command += ["--trials", str(trials), "--began", repr(time.time())]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"{name} failed:\n{run.stderr[-2000:]}")
        found = json.loads(run.stdout.splitlines()[-1])
        print(
            f"  {name:20}{found['trials']:>7.0f}{found['first']:>12.1f} s{found['each']:>11.4f}"
            f"{1 / found['each']:>10.1f}{found['whole']:>7.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
