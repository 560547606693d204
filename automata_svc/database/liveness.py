"""Whether the process that holds a lease still runs, where that can be seen from here.

A driver killed with -9 gives its lease back only by letting it run out. On the same machine the
dead can be told from the living at once, so that resuming needs no waiting. Elsewhere, and in
doubt, the answer is "not gone", and the lease runs out.
"""

from __future__ import annotations

import os
import socket
import subprocess
from functools import cache
from pathlib import Path


def this_process() -> str:
    """The owner string of this process: "host:pid:start"."""
    return process(os.getpid())


def process(pid: int) -> str:
    """The same of another process of this machine; without a start where there is none."""
    return f"{socket.gethostname()}:{pid}:{_started(pid)}"


def is_gone(owner: str) -> bool:
    """Whether `owner` was a process of this machine that has ended; False where that is unknown."""
    host, _, rest = owner.partition(":")
    pid, _, start = rest.partition(":")
    if host != socket.gethostname() or not pid.isdecimal() or not start:
        return False
    if start.partition("@")[2] != _world():  # another boot, or another container's process numbers
        return False
    return _started(int(pid)) != start


def _started(pid: int) -> str:
    """When a process began, in the system's own units, and in which world; "" if it is no more."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may hold spaces; the start is field 19 after it (from 0).
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        began = "" if fields[0] in "ZX" else fields[19]  # a zombie only waits to be counted
    else:
        run = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        began = "-".join(run.stdout.split()).replace(":", ".")
    return f"{began}@{_world()}" if began else ""


@cache
def _world() -> str:
    """What makes process numbers comparable: this boot and this process namespace; "" off Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot[:8]}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""
