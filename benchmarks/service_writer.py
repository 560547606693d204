"""Writes into a job's log like a driver, for `benchmarks.service`: JOB SECONDS."""

from __future__ import annotations

import json
import sys
import time

from automata_svc.database import this_process
from automata_svc.jobs.local import LocalService
from benchmarks.service import WRITES_PER_S


def main(job: str, seconds: float) -> None:
    database = LocalService().database
    token = database.take_lease(job, this_process(), 600.0)
    body = json.dumps({"alive_s": 1.0, "v": 1, "fill": "x" * 400})
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        database.append(job, token, [("tick", body)] * 2, time.time())
        time.sleep(1 / WRITES_PER_S)
    database.release(job, token)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
