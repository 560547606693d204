"""How raw Ray Tune's driver grows with the number of trials: memory, time a trial, its snapshot.

    python -m benchmarks.tune_growth [--trials 2000] [--reports 20]

No-op trials, actors reused, Tune's own loggers off: the form that is kindest to it. Our driver's
figures for the same stand in `python -m benchmarks.log`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import ray
from ray import tune


class NoOp(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.reports = config["reports"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return {"val_accuracy": 0.5, "done": self.iteration + 1 >= self.reports}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Nothing here is resumed."""


class Marks(tune.Callback):
    """(trials ended, seconds, resident MiB of the driver) at every hundredth end."""

    def __init__(self) -> None:
        self.ended, self.marks = 0, [(0, time.perf_counter(), resident_mib())]

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.ended += 1
        if self.ended % 100 == 0:
            self.marks.append((self.ended, time.perf_counter(), resident_mib()))


def resident_mib() -> float:
    """Now, not at its peak; Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--reports", type=int, default=20)
    args = parser.parse_args()
    marks = Marks()
    with tempfile.TemporaryDirectory(prefix="tg-", dir="/tmp") as folder:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
                 _temp_dir=f"{folder}/r")  # fmt: skip
        tune.Tuner(
            tune.with_resources(NoOp, {"cpu": 1}),
            param_space={"lr": tune.loguniform(1e-4, 1e-1), "reports": args.reports},
            tune_config=tune.TuneConfig(
                metric="val_accuracy", mode="max", num_samples=args.trials, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="growth", storage_path=folder, verbose=0, callbacks=[marks]
            ),
        ).fit()
        states = sorted(Path(folder, "growth").glob("experiment_state-*.json"))
        snapshot = max((path.stat().st_size for path in states), default=0)
        ray.shutdown()
    show(marks.marks, snapshot, args.reports)


def show(marks: list[tuple[int, float, float]], snapshot: int, reports: int) -> None:
    step = max(1, len(marks) // 5)
    print("trials   reports/s   driver MiB")
    for before, after in zip(marks[::step], marks[step::step], strict=False):
        rate = (after[0] - before[0]) * reports / (after[1] - before[1])
        print(f"{after[0]:6,}   {rate:9,.0f}   {after[2]:10,.0f}")
    print(f"its snapshot, written whole each time: {snapshot / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
