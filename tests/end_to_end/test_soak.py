"""By night: a service whose processes are killed at random, a thousand times."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter

import pytest

from automata_svc.tuning.state import JOB_ENDS
from tests.end_to_end.conftest import at_any_parallelism
from tests.end_to_end.serving import Served, ended_as, slow_job

KILLS = int(os.environ.get("AUTOMATA_SOAK_KILLS", "1000"))
KINDS = ("api", "controller", "driver", "worker", "ray")
JOBS = 3  # at a time
LONGEST_S = 12.0  # between two kills: long enough for something to happen in between
WAIT_S = 600.0  # for what is left once the killing is over


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(int(40 * KILLS + 2 * WAIT_S))
def test_a_soak_of_kills_over_every_process_of_a_service(tmp_path, ray_temp_dir, whole, capsys):
    """AUTOMATA_SOAK_KILLS kills (1,000) over api, controller, driver, worker and Ray, each at a
    random moment; every job ends with the proposals, decisions and winner of one left alone."""
    seed = int(os.environ.get("AUTOMATA_SOAK_SEED", time.time()))
    rng, kills, jobs, began = random.Random(seed), Counter(), 0, time.monotonic()
    while kills.total() < KILLS:
        home = tmp_path / f"home{jobs}"
        served = Served(home, ray_temp_dir, is_split=True)
        try:
            jobs += one_round(served, rng, kills, at_any_parallelism(whole), f"seed {seed}")
        finally:
            served.close()
        shutil.rmtree(home)
    assert kills.total() == KILLS and jobs > 0
    each = ", ".join(f"{kind} {kills[kind]}" for kind in KINDS)
    with capsys.disabled():
        print(
            f"\nsoak of the service: {kills.total()} kills ({each}) over {jobs} jobs in "
            f"{(time.monotonic() - began) / 3600:.1f} h: all {jobs} ended as if nobody had been "
            f"killed, every log replays; seed {seed}"
        )


def one_round(
    served: Served, rng: random.Random, kills: Counter[str], whole: dict[str, object], seed: str
) -> int:
    """Some jobs on a service of their own, killed at until they are over; how many there were."""
    served.slow_down(rng.choice((0.1, 0.3, 1.0)))
    served.start()
    # A worker's death is one of its trial's retries: here there is no end to them.
    jobs = [
        served.submit(slow_job(f"job-{n}", failure={"trial_retries": 1000})) for n in range(JOBS)
    ]
    limit = time.monotonic() + 40 * KILLS
    while kills.total() < KILLS and any(served.state(job) not in JOB_ENDS for job in jobs):
        assert time.monotonic() < limit, f"{seed}: they never end\n{served.words()}"
        time.sleep(rng.uniform(0, LONGEST_S))
        # Whoever was met least; drivers and workers are not there all the time.
        kind = min(KINDS, key=lambda kind: kills[kind] + rng.uniform(0, 1 + kills.total() / 5))
        if not served.kill(kind, rng):
            continue
        kills[kind] += 1
        if kind in served.roles:
            time.sleep(rng.choice((0.0, 0.0, 3.0)))
            served.start()
    served.until_over(*jobs, patience_s=WAIT_S)
    for job in jobs:
        assert ended_as(served, job) == whole, f"{seed}: {job}\n{served.words()}"
    return len(jobs)
