"""A driver of a service, as a process: `python -m automata_svc.driver --job ID --attempt N`.

Run through Ray's Jobs API, on the Ray that it finds there. What it is to reach (AUTOMATA_HOME,
AUTOMATA_DATABASE_URL_FILE, …) stands in its environment; secrets only in files named there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from automata_svc.errors import AutomataError, Unavailable
from automata_svc.jobs.attempt import RECYCLE_AFTER, Attempt, Ending, carry_out
from automata_svc.jobs.local import LocalService
from automata_svc.jobs.logs import LogWriter
from automata_svc.jobs.reconcile import ENDED
from automata_svc.settings import Settings
from automata_svc.tuning.runners.ray_settings import RaySettings

if TYPE_CHECKING:
    from automata_svc.database import StoredJob
    from automata_svc.jobs.workplace import Workplace
    from automata_svc.tuning.plan import SearchPlan

OPEN_S = 60.0  # guess: a database that is away for longer will be there for the next attempt


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries one attempt out; returns the exit code (`jobs.attempt.carry_out`)."""
    asked = _parser().parse_args(arguments)
    ending = Ending()
    obey(ending)
    # Nearly all of a start is imports; Ray's are the longest, and the database is opened beside.
    threading.Thread(target=_import_ray, name="automata-import", daemon=True).start()
    service = LocalService(Settings.from_env())
    try:
        _open(service)
        writer = LogWriter(service.store, asked.job, asked.attempt)
    except AutomataError as error:
        _print(str(error))
        return error.exit_code
    with writer:
        say = partial(_say, writer)
        attempt = Attempt(
            asked.job,
            asked.attempt,
            partial(_workplace, writer, ending),
            recycle_after=asked.recycle_after,
        )
        say(f"attempt {asked.attempt} of {asked.job}, process {os.getpid()}")
        code = carry_out(service, attempt, ending, say)
        say(f"{ENDED} {code}")
    return code


def obey(ending: Ending) -> None:
    """SIGTERM and SIGINT ask this process to end; said again once Ray is connected.

    Ray puts a handler of its own before ours: it prints a stack, calls ours, and has set an alarm
    that aborts the process 3 s later (measured on ray 2.60), in the midst of what is to be stored.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.alarm(0)
        ending.ask(f"its driver was asked to end ({signal.Signals(number).name})")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, terminate)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m automata_svc.driver", description=__doc__)
    parser.add_argument("--job", required=True, help="its id")
    parser.add_argument("--attempt", required=True, type=int, help="of the job's controller")
    parser.add_argument(
        "--recycle-after",
        type=int,
        default=RECYCLE_AFTER,
        help="trials after which the next driver takes over",
    )
    return parser


def _import_ray() -> None:
    import automata_svc.tuning.runners.ray  # noqa: F401


def _open(service: LocalService) -> None:
    deadline = time.monotonic() + OPEN_S
    while True:
        try:
            service.database  # noqa: B018  # opened by the first look at it
            return
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            _print(f"waits: {error}")
        time.sleep(1.0)


def _workplace(
    writer: LogWriter, ending: Ending, service: LocalService, plan: SearchPlan, record: StoredJob
) -> Workplace:
    from automata_svc.jobs.workplace import RayWorkplace

    there = RaySettings(address="auto")
    made = RayWorkplace(service, plan, record, ray=there, prints=writer.write)
    obey(ending)
    return made


def _say(writer: LogWriter, text: str) -> None:
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text.rstrip()}"
    _print(line)
    writer.write(None, line + "\n")


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of Ray and of a template's libraries must not hold the process up
