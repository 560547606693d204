"""A driver as a process: what it does when it is asked to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ASKED = """
import os, signal, time
from automata_svc.driver import obey
from automata_svc.jobs.attempt import Ending
from automata_svc.tuning.runners.ray_host import RayHost
from automata_svc.tuning.runners.ray_settings import RaySettings

ending = Ending()
obey(ending)
host = RayHost(RaySettings(cpus=1))
host.start()
if {again}:
    obey(ending)
os.kill(os.getpid(), signal.SIGTERM)
until = time.monotonic() + 4.0
while time.monotonic() < until:  # it puts on record where it is, or waits for the database
    time.sleep(0.1)
print(ending.reason, flush=True)
host.stop()
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("again", [False, True], ids=["while Ray comes up", "once Ray is there"])
def test_a_driver_that_is_asked_to_end_has_the_time_to_say_so(again: bool) -> None:
    run = subprocess.run(
        [sys.executable, "-c", ASKED.format(again=again)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "its driver was asked to end (SIGTERM)\n"
    assert ("SIGTERM received" in run.stderr) is not again  # Ray's own words, and a stack
