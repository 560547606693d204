"""Real jobs beside their replay: does a recorded curve say what a job through Ray really delivers?

    python -m benchmarks.real_jobs [--pools letter_pool2,…] [--jobs 3] [--price 2.5]

Each job's 27 start points are configurations of a recorded pool, so that the same job can be
replayed and held against the full search of the same 27. Real trainings differ from the recording
by their seed: a regret here has the noise of one training in it (.16 to .23 points on letter).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from automata_svc.jobs.local import LocalService
from automata_svc.jobs.recipes import RECIPES
from automata_svc.settings import Settings
from benchmarks.price_pools import own_pool
from benchmarks.replay import Pool, Table, draw_jobs, full_search, run_job

RECORDED = Path(__file__).parent / "recorded"


def job_file(dataset: str, points: list[dict], price: float) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "automata/v1",
            "kind": "TuneJob",
            "metadata": {"name": f"real-{dataset.replace('_', '-')}"},
            "spec": {
                "trial": {"template": "tabular_mlp", "dataset": dataset},
                "objective": {"metric": "val_accuracy", "mode": "max"},
                "space": {
                    "lr": {"loguniform": [3e-4, 0.2]},
                    "weight_decay": {"loguniform": [1e-6, 1e-2]},
                    "hidden": [32, 64, 128, 256],
                    "batch_size": [32, 64, 128, 256],
                },
                "search": {"start_points": points},
                "budget": {"trials": len(points), "price": price},
            },
        }
    )


def points_of(file: Path, drawn: np.ndarray) -> list[dict]:
    with np.load(file) as z:
        return [
            {
                "lr": min(0.2, max(3e-4, float(z["config_lr"][i]))),
                "weight_decay": min(1e-2, max(1e-6, float(z["config_weight_decay"][i]))),
                "hidden": int(z["config_hidden"][i]),
                "batch_size": int(z["config_batch_size"][i]),
            }
            for i in drawn
        ]


def table_of(service: LocalService, text: str) -> Table:
    """The rung table the planner gives this job, for the replay."""
    view = service.plan(text, "real")
    keep = tuple(rung.keep for rung in view.rungs)
    rows = view.job["spec"]["scheduler"]["eval_rows"][0]
    return Table(tuple(rung.asked for rung in view.rungs), keep, int(keep[-1] or 1), rows)


def compare(
    service: LocalService, name: str, pool: Pool, count: int, price: float, runner: str
) -> None:
    file = RECORDED / f"{name}.npz"
    dataset = name.rsplit("_pool", 1)[0]
    jobs = draw_jobs(pool, count)
    winners, reference = full_search(pool, jobs)
    for index in range(count):
        text = job_file(dataset, points_of(file, jobs[index]), price)
        table = table_of(service, text)
        state = service.drive(service.submit(text, "real"), runner=runner)
        if state.result is None:
            raise SystemExit(f"{state.plan.job}: {state.state}, {state.move.reason}")
        replayed = run_job(pool, table, list(jobs[index]))
        real = 100 * state.result.test["test_accuracy"]
        best = list(jobs[index]).index(winners[index])
        full = 100 * reference[index]
        print(
            f"| {dataset} {index} | {full:.2f} (trial {best}) | {100 * replayed.test:.2f} (trial "
            f"{replayed.trial}) | {real:.2f} (trial {state.result.trial}) | "
            f"{full - 100 * replayed.test:+.2f} | {full - real:+.2f} | {replayed.price:.2f} | "
            f"{state.price:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", default="letter_pool2,connect4_pool2,fashion_mnist_pool0")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--price", type=float, default=2.5)
    parser.add_argument("--runner", default="ray", help="inprocess: the same jobs, on one core")
    args = parser.parse_args()
    print(f"recipes: {', '.join(RECIPES)}; price {args.price:g}", file=sys.stderr)
    head = ["job", "full search", "replay", "real", "regret, replay", "regret, real"]
    print(f"| {' | '.join(head)} | price, replay | price, real |\n|{'---|' * 8}")
    with tempfile.TemporaryDirectory() as folder:
        service = LocalService(Settings.from_env({**os.environ, "AUTOMATA_HOME": folder}))
        for name in args.pools.split(","):
            compare(
                service,
                name,
                own_pool(RECORDED / f"{name}.npz"),
                args.jobs,
                args.price,
                args.runner,
            )


if __name__ == "__main__":
    main()
