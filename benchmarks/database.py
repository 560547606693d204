"""How fast the database takes reports and submissions, and gives pages and logs.

    python -m benchmarks.database [--database URL] [--reports 20000] [--trials 10000]

Without a URL: an SQLite file in a temporary folder. A PostgreSQL database must be there and empty;
its tables are made, and left. A report is what a driver stores for one: an event and its trial's
row, in a transaction of its own; a submission is a job with an idempotency key, on disk when it is
acknowledged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from automata_svc.database import TrialRow, open_database, this_process
from automata_svc.database.store import Database
from automata_svc.database.upgrade import upgrade_database

BODY = json.dumps(
    {"trial": 7, "segment": 2, "boundary": 40, "passes": [{"loss": 0.25}] * 3, "metric": 0.75}
)
SHOWN = json.dumps({"number": 7, "params": {"lr": 0.01, "hidden": 128}, "values": [0.5] * 8})
WRITERS = 4  # threads that submit at the same time
PAGE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", help="a URL; None: SQLite in a temporary folder")
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--submissions", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=10_000, help="of the job that is paged")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = args.database or f"sqlite:///{Path(folder) / 'bench.db'}"
        upgrade_database(url)
        with open_database(url) as database:
            print(url.split("://")[0])
            reports(database, args.reports)
            submissions(database, args.submissions)
            pages(database, args.trials)


def reports(database: Database, count: int) -> None:
    """One driver's reports, one after the other; then its log as it is read back."""
    job = _job(database)
    token = database.take_lease(job, this_process(), 3600)
    thousand: list[float] = []
    begun = last = time.perf_counter()
    for i in range(count):
        trial = TrialRow(i % 1_000, "RUNNING", "", 1, i / count, 0.5, 0.1, SHOWN)
        database.append(job, token, [("passes", BODY)], 1.0, trials=[trial], first_seq=i + 1)
        if i % 1_000 == 999:
            now = time.perf_counter()
            thousand.append(1_000 / (now - last))
            last = now
    took = time.perf_counter() - begun
    print(f"  reports stored      {count / took:8,.0f}/s   "
          f"(first thousand {thousand[0]:,.0f}/s, last {thousand[-1]:,.0f}/s)")  # fmt: skip
    begun = time.perf_counter()
    read = sum(1 for _ in database.events(job))
    print(f"  events read         {read / (time.perf_counter() - begun):8,.0f}/s")


def submissions(database: Database, count: int) -> None:
    """Acknowledged ones, from several threads; each with a key."""
    spec = "x" * 20_000  # a job with its plan and its template's text

    def submit(i: int) -> float:
        begun = time.perf_counter()
        database.create_job(
            name="bench", spec=spec, plan=spec, template=spec, created_at=float(i),
            idempotency=(f"{begun}:{i}", "f"),
        )  # fmt: skip
        return time.perf_counter() - begun

    begun = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        taken = list(pool.map(submit, range(count)))
    rate = count / (time.perf_counter() - begun)
    print(f"  submissions taken   {rate:8,.0f}/s   p99 {_p99(taken):.1f} ms ({WRITERS} threads)")


def pages(database: Database, trials: int) -> None:
    """Pages of a large job, at random places."""
    job = _job(database)
    token = database.take_lease(job, this_process(), 3600)
    for start in range(0, trials, 1_000):
        rows = [
            TrialRow(n, "PRUNED" if n % 3 else "RUNNING", "", n % 4, (n * 2_654_435_761 % 1_000_003)
                     / 1_000_003, 0.5, 0.1, SHOWN)
            for n in range(start, min(trials, start + 1_000))
        ]  # fmt: skip
        database.append(job, token, [("x", "{}")], 1.0, trials=rows)

    def by_rank(i: int) -> object:
        after = (i % 4, i / 200, 0)
        return database.trials(job, order="rank", limit=PAGE, after=after if i else None)

    def by_state(i: int) -> object:
        return database.trials(job, order="rank", state="PRUNED", limit=PAGE)

    cases: Sequence[tuple[str, Callable[[int], object]]] = (
        ("by number", lambda i: database.trials(job, limit=PAGE, after=(i * trials // 200,))),
        ("by rank", by_rank),
        ("by rank, one state", by_state),
        ("jobs, newest first", lambda i: database.list_jobs(limit=PAGE)),
    )
    for name, ask in cases:
        taken = []
        for i in range(200):
            begun = time.perf_counter()
            ask(i)
            taken.append(time.perf_counter() - begun)
        print(f"  page {name:18} p50 {statistics.median(taken) * 1e3:6.1f} ms   "
              f"p99 {_p99(taken):6.1f} ms")  # fmt: skip


def _job(database: Database) -> str:
    return database.create_job(
        name="bench", spec="{}", plan="{}", template="{}", created_at=time.time()
    )


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(0.99 * (len(seconds) - 1))] * 1e3


if __name__ == "__main__":
    main()
