"""The head of a service's own Ray on one machine, as a program: `ray start` without what it spares.

    python -m automata_svc.tuning.runners.ray_head start --head …

Beside `ray.py` the only file that imports Ray.
"""

from __future__ import annotations

from collections.abc import Sequence

from ray._private.node import Node
from ray.scripts.scripts import cli

# Three processes of 80 to 90 MB each (measured): what would start more machines, what carries
# workers' output to a driver's terminal (we have our own way), and Ray Client's server, which we
# do not use.
SPARED = ("start_monitor", "start_log_monitor", "start_ray_client_server")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the `ray` command; leaves by SystemExit."""
    for name in SPARED:
        setattr(Node, name, lambda self, *given, **named: None)
    cli(arguments)


if __name__ == "__main__":
    main()
