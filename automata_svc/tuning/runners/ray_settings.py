"""Which Ray a job runs on, and how a private one is started. Loads no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

SILENT_S = 600.0  # guess: no honest step waits for ten minutes without computing


@dataclass(frozen=True)
class RaySettings:
    """Which Ray. The default is a private one on this machine that ends with the job."""

    address: str = "local"  # "auto": the cluster that this process runs in
    cpus: int | None = None  # of a private Ray; None: this process's share of the machine
    gpus: int | None = None  # of a private Ray; None: what Ray finds
    temp_dir: Path | None = (
        None  # of a private Ray; short: sockets lie in it. None: RAY_TMPDIR, /tmp
    )
    dashboard: bool = False  # of a private Ray, with its state API: 1 s more to start, 1 s to end
    silent_s: float = SILENT_S  # a training thread that does not move for so long is killed


# Set before a private Ray starts, so that its processes inherit it. What the user has set wins.
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "RAY_AUTH_MODE": "disabled",  # on loopback only; else a token is written into the home
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths in templates mean what they meant
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default, without its warning
        "PL_DISABLE_FORK": "1",  # what Tune would start each worker anew for
    }
)

# What a private Ray's workers import while the driver is still connecting; torch is most of it.
# Only a worker that has run nothing can become a trial's, so tasks cannot warm one (measured).
PRELOADED = ("automata_svc.trials.segment", "automata_svc.tuning.runners.ray_worker")

# What a private Ray without a dashboard does without (measured: 2 of its 4 s to start, and 1 of 1.5
# to end): the dashboard's server, which Ray starts in any case, the autoscaler, and what carries
# workers' output to the driver.
SPARED = ("start_api_server", "start_monitor", "start_log_monitor")
