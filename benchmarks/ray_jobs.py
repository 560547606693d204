"""Ray's own Jobs API as a yardstick for ours: submissions, a duplicate id, listing, one page.

    python -m benchmarks.ray_jobs [--jobs 1000]

The jobs ask for a resource that no node has, so that they stay PENDING: what is timed is the API,
not the processes behind it. A Ray of its own on loopback, ended afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

RAY = str(Path(sys.executable).with_name("ray"))
WAIT_S = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="rj-", dir="/tmp")
    ports = free_ports(3)
    env = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    head = subprocess.Popen(
        [RAY, "start", "--head", "--block", "--num-cpus=1", f"--port={ports[0]}",
         f"--dashboard-port={ports[1]}", f"--dashboard-agent-listen-port={ports[2]}",
         "--dashboard-host=127.0.0.1", f"--temp-dir={folder}"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}", timeout=120.0) as client:
            wait_for(client)
            measure(client, args.jobs)
    finally:
        head.terminate()
        head.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def measure(client: httpx.Client, jobs: int) -> None:
    took = [timed(lambda n=n: submit(client, f"job-{n:06d}"))[0] for n in range(jobs)]
    first, took = took[0], took[1:]
    print(
        f"{jobs:,} submissions, one after the other: the first {first:.1f} s, then "
        f"{len(took) / sum(took):,.0f}/s, "
        f"p50 {1e3 * np.quantile(took, 0.5):.0f} ms, p99 {1e3 * np.quantile(took, 0.99):.0f} ms"
    )
    again = client.post("/api/jobs/", json=body("job-000000"))
    lines = len(again.text.splitlines())
    kind = again.headers.get("content-type")
    print(f"a duplicate id: {again.status_code}, {kind}, a traceback of {lines} lines")
    listed = [timed(lambda: client.get("/api/jobs/").raise_for_status()) for _ in range(5)]
    size = len(listed[0][1].content)
    print(
        f"list: {len(listed[0][1].json()):,} jobs at once (it has no pages), {size / 1e3:,.0f} kB, "
        f"p50 {1e3 * float(np.median([s for s, _ in listed])):,.0f} ms"
    )
    gone = client.get("/api/jobs/nobody")
    print(f"an unknown id: {gone.status_code}, {gone.headers.get('content-type')}")


def body(name: str) -> dict[str, Any]:
    return {
        "entrypoint": "true",
        "submission_id": name,
        "entrypoint_resources": {"nobody_has_this": 1},
        "metadata": {"job": name},
    }


def submit(client: httpx.Client, name: str) -> None:
    client.post("/api/jobs/", json=body(name)).raise_for_status()


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = what()
    return time.perf_counter() - begun, found


def wait_for(client: httpx.Client) -> None:
    limit = time.monotonic() + WAIT_S
    while True:
        try:
            if client.get("/api/jobs/").is_success:
                return
        except httpx.TransportError:
            pass  # not up yet
        if time.monotonic() > limit:
            raise SystemExit(f"Ray did not answer within {WAIT_S:.0f} s")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    main()
