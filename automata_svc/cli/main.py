"""The console script: loads the commands, and ends quietly whenever it is interrupted."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


def main() -> None:
    """The console script."""
    try:
        # In here: what is loaded takes a while, and an interrupt amid it is none of ours to trace.
        from automata_svc.cli.commands import cli

        _stand_in()
        cli(prog_name="automata")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # All is said and stored. What Ray does at exit may be cut short: its processes end with us.
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))


def _stand_in() -> None:
    """Opens the standard streams that are closed: the next file, a database, would get their place.

    Whatever writes to descriptor 2 would then write into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


if __name__ == "__main__":
    main()
