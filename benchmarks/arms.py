"""Every strategy in the same search: what choosing rows adds to shuffled full data.

    python -m benchmarks.arms [--datasets digits,letter] [--seeds 3] [--price 1.5]

The same 27 configurations (same seed, same rungs and keeps), the rows chosen in another way; the
winner confirmed on all rows. Differences are paired by seed, to `adaptive_random`. Runs in process,
one trial at a time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings

STRATEGIES = ("adaptive_random", "random", "full", "automata", "milo")
BASE = "adaptive_random"
JOB = """
apiVersion: automata/v1
kind: TuneJob
metadata: {{name: arms}}
spec:
  trial: {{template: tabular_mlp, dataset: {dataset}}}
  objective: {{metric: val_accuracy, mode: max}}
  space:
    lr: {{loguniform: [1.0e-3, 2.0e-1]}}
    hidden: [32, 64, 128, 256]
    batch_size: [32, 64, 128]
    weight_decay: {{loguniform: [1.0e-6, 1.0e-2]}}
  subset: {{strategy: {strategy}, fraction: 0.1}}
  search: {{seed: {seed}}}
  budget: {{trials: 27, price: {price}}}
"""


def run(service: LocalService, dataset: str, strategy: str, seed: int, price: float) -> dict:
    # A gradient strategy pays for its pools: what it needs above the price is shown, not refused.
    text = JOB.format(dataset=dataset, strategy=strategy, seed=seed, price=price)
    base = service.plan(text.replace(f"strategy: {strategy}", f"strategy: {BASE}"), "base")
    shares = [rung.asked for rung in base.rungs]
    keep = [rung.keep for rung in base.rungs]
    rows = [1000] + [None] * (len(shares) - 1)
    overrides = [f"scheduler.shares={shares}", f"scheduler.keep={keep}", "budget.price=null",
                 f"scheduler.eval_rows={rows}".replace("None", "null")]  # fmt: skip
    job = service.submit(text, "arms", overrides)
    state = service.drive(job, runner="inprocess")
    if state.result is None:
        raise SystemExit(f"{job}: {state.state}, {state.move.reason}")
    return {
        "test": 100 * state.result.test["test_accuracy"],
        "price": state.price,
        "select": state.cost.select_seconds,
        "train": state.cost.train_seconds,
        "winner": state.result.trial,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", default="digits,letter")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--price", type=float, default=1.5)
    args = parser.parse_args()
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        environment["AUTOMATA_HOME"] = str(Path(folder))
        service = LocalService(Settings.from_env(environment))
        for dataset in args.datasets.split(","):
            found: dict[str, list[dict]] = {name: [] for name in STRATEGIES}
            for seed in range(args.seeds):
                for strategy in STRATEGIES:
                    one = run(service, dataset, strategy, seed, args.price)
                    found[strategy].append(one)
                    print(f"  {dataset} {strategy} seed {seed}: {one}", file=sys.stderr)
            show(dataset, found, args.seeds)


def show(dataset: str, found: dict[str, list[dict]], seeds: int) -> None:
    head = ["test accuracy", f"to {BASE}", "price", "selection s", "training s", "same winner"]
    print(f"\n| {dataset}, {seeds} seeds | {' | '.join(head)} |")
    print("|---|---|---|---|---|---|---|")
    for strategy, runs in found.items():
        pairs = list(zip(runs, found[BASE], strict=True))
        gaps = [one["test"] - base["test"] for one, base in pairs]
        spread = f" ± {statistics.stdev(gaps) / len(gaps) ** 0.5:.2f}" if len(gaps) > 1 else ""
        same = sum(one["winner"] == base["winner"] for one, base in pairs)
        verdict = "–" if strategy == BASE else f"{statistics.mean(gaps):+.2f}{spread}"
        keys = ("test", "price", "select", "train")
        mean = {key: statistics.mean(one[key] for one in runs) for key in keys}
        print(f"| {strategy} | {mean['test']:.2f} | {verdict} | {mean['price']:.2f} | "
              f"{mean['select']:.1f} | {mean['train']:.1f} | {same} of {len(pairs)} |")  # fmt: skip


if __name__ == "__main__":
    main()
