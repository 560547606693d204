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
# How often each is killed, relative to the others: a new Ray takes ten seconds, in which there is
# nothing else to kill.
KINDS = {"api": 2, "controller": 2, "driver": 3, "worker": 3, "ray": 1}
JOBS = 6  # of a round; some wait while others run
SHORTEST_S, LONGEST_S = 0.05, 12.0  # between two kills: at once, and when much has happened since
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
        # So many deaths in a row are the soak's doing, not the jobs'.
        patient = ("--give-up-after", str(KILLS))
        served = Served(home, ray_temp_dir, arguments=patient, is_split=True)
        try:
            jobs += one_round(served, rng, kills, at_any_parallelism(whole), seed, capsys)
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
    served: Served,
    rng: random.Random,
    kills: Counter[str],
    whole: dict[str, object],
    seed: int,
    capsys: pytest.CaptureFixture[str],
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
        assert time.monotonic() < limit, f"seed {seed}: they never end\n{served.words()}"
        time.sleep(SHORTEST_S * (LONGEST_S / SHORTEST_S) ** rng.random())
        kind = next_of(kills, rng)
        if not served.kill(kind, rng):
            continue
        kills[kind] += 1
        if kills.total() % 20 == 0:
            with capsys.disabled():
                print(f"{kills.total()} of {KILLS} kills", flush=True)
        if kind in served.roles:
            time.sleep(rng.choice((0.0, 0.0, 3.0)))
            served.start()
    served.until_over(*jobs, patience_s=WAIT_S)
    for job in jobs:
        assert ended_as(served, job) == whole, f"seed {seed}: {job}\n{served.words()}"
    return len(jobs)


def next_of(kills: Counter[str], rng: random.Random) -> str:
    """Whoever was met least for its weight, roughly: workers are not there all the time."""
    loose = 1 + kills.total() / sum(KINDS.values())
    return min(KINDS, key=lambda kind: kills[kind] / KINDS[kind] + rng.uniform(0, loose))
