"""Wall-clock of a whole search, side by side: ours, raw Ray Tune, raw Ray Tune with reuse_actors.

    python -m benchmarks.wallclock [--dataset letter] [--rounds 1]

Each is a process of its own, timed from its start to its end, final training included, on the same
rows and the same space; one after the other, so that they meet the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOB = """
apiVersion: automata/v1
kind: TuneJob
metadata: {{name: wallclock}}
spec:
  trial: {{template: tabular_mlp, dataset: {dataset}}}
  objective: {{metric: val_accuracy, mode: max}}
  space:
    lr: {{loguniform: [1.0e-4, 1.0e-1]}}
    hidden: [64, 128, 256]
    batch_size: [32, 64, 128, 256]
  budget: {{trials: 27, price: {price}}}
"""


def ours(dataset: str, price: float) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.yaml"
        job.write_text(JOB.format(dataset=dataset, price=price))
        environment = {**os.environ, "AUTOMATA_HOME": f"{folder}/home"}
        command = [sys.executable, "-m", "automata_svc.cli.main", "tune", str(job), "-o", "json"]
        seconds, out = timed(command, environment)
    result = json.loads(out)
    confirmed = result["best"]["confirmed"]
    return {
        "seconds": seconds,
        "price": result["cost"]["price"],
        "val_accuracy": confirmed["val"]["val_accuracy"],
        "test_accuracy": confirmed["test"]["test_accuracy"],
    }


def raw(dataset: str, *flags: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.raw_tune", "--dataset", dataset, *flags]
    seconds, out = timed(command, dict(os.environ))
    return {"seconds": seconds, **json.loads(out.strip().splitlines()[-1])}


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    begun = time.time()
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    return time.time() - begun, run.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="letter")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    arms = {
        "automata, price 1.5": lambda: ours(args.dataset, 1.5),
        "automata, price 2.5 (default)": lambda: ours(args.dataset, 2.5),
        "raw Ray Tune, reuse_actors": lambda: raw(args.dataset, "--reuse"),
        "raw Ray Tune, default form": lambda: raw(args.dataset),
    }
    found: dict[str, list[dict]] = {name: [] for name in arms}
    for _ in range(args.rounds):
        for name, run in arms.items():
            found[name].append(run())
            print(f"  {name}: {found[name][-1]}", file=sys.stderr)
    base = statistics.median(one["seconds"] for one in found["raw Ray Tune, default form"])
    title = f"{args.dataset}, 27 trials, 50 epochs, final training included"
    print(f"| {title} | seconds | faster | price | test accuracy |")
    print("|---|---|---|---|---|")
    for name, runs in found.items():
        seconds = statistics.median(one["seconds"] for one in runs)
        price = statistics.mean(one["price"] for one in runs)
        test = statistics.mean(one["test_accuracy"] for one in runs)
        print(f"| {name} | {seconds:.0f} | {base / seconds:.1f}× | {price:.2f} | {test:.4f} |")


if __name__ == "__main__":
    main()
