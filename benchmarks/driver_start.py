"""How long a submitted job waits for its driver, and a driver for its first trial.

    python -m benchmarks.driver_start [--jobs 4]

A whole service with a Ray of its own, as `automata serve` starts it, and one small job after the
other (digits, real training). The times are those of the job's own log; the first job meets a Ray
that has just started, the others a warm one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from tests.end_to_end.serving import Served

JOB = {
    "apiVersion": "automata/v1",
    "kind": "TuneJob",
    "metadata": {"name": "digits-mlp"},
    "spec": {
        "trial": {"template": "tabular_mlp", "dataset": "digits", "settings": {"epochs": 10}},
        "space": {"lr": {"loguniform": [1e-4, 1e-1]}},
        "budget": {"trials": 9},
    },
}
# what is waited for → the first event of this kind
MARKS = {
    "driver at work": "driver_started",
    "first trial": "segment_started",
    "first report": "passes",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="automata-bench-") as folder:
        served = Served(Path(folder) / "home", Path(folder))
        begun = time.perf_counter()
        try:
            served.start()
            print(f"the server answers after {time.perf_counter() - begun:.1f} s")
            print(f"{'seconds from the submission to':32}" + "".join(f"{m:>16}" for m in MARKS))
            rows = [measured(served, number) for number in range(args.jobs)]
        finally:
            served.close()
    if len(rows) > 1:
        warm = [statistics.median(row[mark] for row in rows[1:]) for mark in MARKS]
        print(f"{'median of the warm ones':32}" + "".join(f"{value:16.1f}" for value in warm))


def measured(served: Served, number: int) -> dict[str, float]:
    """Runs one job to its end; seconds to each mark."""
    asked = time.time()
    job = served.submit(json.dumps(JOB))
    served.until_over(job)
    with served.service() as service:
        state = service.state(job)
        events = service.events(job)
    assert state.state == "SUCCEEDED", state.move
    row = {
        mark: next(at for _, at, found, _ in events if found == kind) - asked
        for mark, kind in MARKS.items()
    }
    print(f"{f'job {number + 1}':32}" + "".join(f"{row[mark]:16.1f}" for mark in MARKS))
    served.until(lambda: served.drivers() == [], "its driver has gone")
    return row


if __name__ == "__main__":
    main()
