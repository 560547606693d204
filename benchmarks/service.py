"""How fast the service takes jobs and shows them, with readers of streams beside, and idle.

    python -m benchmarks.service [--seconds 20] [--rate 50] [--readers 20]
        [--database postgresql+psycopg://…]

A real server process over loopback; jobs are planned and stored, none is run. The readers follow a
job into which another process writes like a driver. Without --database: SQLite in a folder.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx

from automata_svc.jobs.local import LocalService
from automata_svc.jobs.tokens import Tokens
from automata_svc.settings import Settings

JOB = {
    "apiVersion": "automata/v1",
    "kind": "TuneJob",
    "metadata": {"name": "digits-mlp"},
    "spec": {
        "trial": {"template": "tabular_mlp", "dataset": "digits"},
        "space": {"lr": {"loguniform": [1e-4, 1e-1]}, "hidden": [64, 128, 256]},
        "budget": {"trials": 27},
    },
}
TRIALS = 10_000
WRITES_PER_S = 20  # appended batches of the followed job


@dataclass(frozen=True)
class Server:
    """A running server process."""

    url: str
    token: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def serving(settings: Settings) -> Iterator[Server]:
    """`uvicorn` with the app, in a process of its own."""
    service = LocalService(settings)
    token = Tokens(service.database).create("benchmark", ["admin"]).secret
    service.database.close()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "AUTOMATA_HOME": str(settings.home),
        "AUTOMATA_DATABASE_URL": settings.database_url,
        "AUTOMATA_RATE_PER_S": "0",
    }
    code = (
        "import uvicorn\n"
        "from automata_svc.api.app import make_app\n"
        "from automata_svc.api.world import ServiceWorld\n"
        "from automata_svc.settings import Settings\n"
        "uvicorn.run(make_app(ServiceWorld.of(Settings.from_env())), "
        f"port={port}, log_level='warning', access_log=False)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield Server(url, token, child.pid)
    finally:
        child.terminate()
        child.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=50.0, help="submissions a second")
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--database", help="an SQLAlchemy URL; it is upgraded, and filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="automata-bench-") as folder:
        env = {"AUTOMATA_HOME": folder}
        if args.database:
            env["AUTOMATA_DATABASE_URL"] = args.database
        settings = Settings.from_env(env)
        if args.database:
            from automata_svc.database.backends import open_engine
            from automata_svc.database.upgrade import upgrade

            upgrade(*open_engine(args.database, 10.0))
        large = fill(settings)
        print(f"database: {settings.database_url.partition(':')[0]}")
        with serving(settings) as server:
            idle(server)
            asyncio.run(pages(server, large))
            asyncio.run(submissions(server, args))
            asyncio.run(flat_out(server, args.seconds / 2))
            print(f"server after all that: {resident_mib(server.pid):,.0f} MiB")


def fill(settings: Settings) -> str:
    """A finished job of 10,000 trials, decided and stored by the real core; returns its id."""
    from automata_svc.database import new_job_id, this_process
    from automata_svc.jobs.drive import DatabaseLog
    from automata_svc.jobs.projection import trial_rows
    from automata_svc.tuning.engine import Engine
    from automata_svc.tuning.inputs import DriverStart, SubsetBuilt
    from automata_svc.tuning.runners.simulated import HandClock, Simulated
    from benchmarks.log import Hashed, plan_of

    service = LocalService(settings)
    database = service.database
    job = new_job_id(time.time())
    asked = SimpleNamespace(trials=TRIALS, reports=2, search="random", scheduler="asha")
    plan = plan_of(asked, job)  # type: ignore[arg-type]
    database.create_job(
        job_id=job, name="large", spec=json.dumps(JOB), plan=json.dumps(plan.to_json()),
        template="{}", created_at=time.time(), state="QUEUED",
    )  # fmt: skip
    token = database.take_lease(job, this_process(), 3600.0)
    clock = HandClock()
    log = DatabaseLog(database, job, token)
    engine = Engine(plan, log, clock)
    log.state = lambda: engine.state
    engine.handle(DriverStart({"automata": "0"}, "", 4, "simulated"))
    engine.handle(SubsetBuilt(None, False, 0.0))
    Simulated(Hashed(), clock).run(engine)
    database.release(job, token)
    if not database.trials(job, limit=1):
        rows = trial_rows(engine.state, range(len(engine.state.trials)))
        database.fill_trials(job, engine.state.seq, rows)
    database.close()
    return job


# ---- what is measured ---------------------------------------------------------------------------


def idle(server: Server, seconds: float = 10.0) -> None:
    time.sleep(2)
    before, began = cpu_s(server.pid), time.monotonic()
    time.sleep(seconds)
    share = (cpu_s(server.pid) - before) / (time.monotonic() - began)
    print(f"idle: {100 * share:.2f} % CPU, {resident_mib(server.pid):,.0f} MiB (promise: 1 %, 250)")


async def pages(server: Server, job: str, count: int = 200) -> None:
    """Pages of 50 and of 500 trials, by number and by rank, at random places."""
    async with client_of(server) as client:
        for order in ("number", "rank"):
            for size in (50, 500):
                times, token = [], None
                for _ in range(count):
                    params = {"order": order, "page_size": size}
                    began = time.perf_counter()
                    answer = await client.get(
                        f"/v1/jobs/{job}/trials",
                        params={**params, "page_token": token} if token else params,
                    )
                    times.append(time.perf_counter() - began)
                    assert answer.status_code == 200, answer.text
                    token = answer.json()["next_page_token"]
                said = f"page of {size} of {TRIALS:,} trials by {order}"
                print(f"{said}: {words(times)} (promise: p99 50 ms)")


async def submissions(server: Server, args: argparse.Namespace) -> None:
    """At a fixed pace, whether or not the ones before have been answered."""
    followed = await submit_one(server)
    gc.collect()
    gc.disable()  # this process holds what 20 readers have read: its pauses are not the server's
    writer = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service_writer", followed, str(args.seconds + 5)],
        env={**os.environ, **database_env(server)},
    )
    async with client_of(server, 300) as client:
        readers = [asyncio.create_task(follow(client, followed)) for _ in range(args.readers)]
        await asyncio.sleep(2)
        times: list[float] = []
        began, spent = time.perf_counter(), cpu_s(server.pid)
        tasks = []
        for n in range(int(args.seconds * args.rate)):
            await asyncio.sleep(max(0.0, began + n / args.rate - time.perf_counter()))
            tasks.append(asyncio.create_task(submit(client, times)))
        await asyncio.gather(*tasks)
        took = time.perf_counter() - began
        spent = cpu_s(server.pid) - spent
        for reader in readers:
            reader.cancel()
        seen = await asyncio.gather(*readers, return_exceptions=True)
    gc.enable()
    writer.wait(60)
    rate = len(times) / took
    heard = [one for one in seen if isinstance(one, int)]
    print(
        f"{rate:.1f} acknowledged submissions/s, {args.readers} readers following: {words(times)} "
        f"(promise: 50/s, p99 100 ms), {1e3 * spent / len(times):.1f} ms CPU of the server each, "
        f"readers included; each reader got {min(heard, default=0)}"
        f"–{max(heard, default=0)} events, in order"
    )


async def flat_out(server: Server, seconds: float, clients: int = 8) -> None:
    """As many as it takes, from a few clients that wait for their answers."""
    times: list[float] = []
    async with client_of(server) as client:
        began = time.perf_counter()

        async def go_on() -> None:
            while time.perf_counter() - began < seconds:
                await submit(client, times)

        await asyncio.gather(*(go_on() for _ in range(clients)))
        took = time.perf_counter() - began
        print(f"flat out, {clients} clients: {len(times) / took:.0f} submissions/s, {words(times)}")
        listed = []
        for _ in range(50):
            start = time.perf_counter()
            (await client.get("/v1/jobs", params={"page_size": 500})).raise_for_status()
            listed.append(time.perf_counter() - start)
        print(f"page of 500 jobs: {words(listed)}")


# ---- below --------------------------------------------------------------------------------------


def client_of(server: Server, connections: int = 100) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(
        base_url=server.url, headers=server.headers, timeout=60.0, limits=limits
    )


async def submit_one(server: Server) -> str:
    async with client_of(server) as client:
        answer = await client.post("/v1/jobs", json=JOB)
        return str(answer.json()["id"])


async def submit(client: httpx.AsyncClient, times: list[float]) -> None:
    began = time.perf_counter()
    answer = await client.post("/v1/jobs", json=JOB)
    times.append(time.perf_counter() - began)
    if answer.status_code != 201:
        raise SystemExit(answer.text)


async def follow(client: httpx.AsyncClient, job: str) -> int:
    """How many events came, each checked to be the next one; until it is cancelled."""
    seen = 0
    headers = {"Accept": "text/event-stream"}
    try:
        async with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    seen += 1
                    assert line == f"id: {seen}", (line, seen)
    except asyncio.CancelledError:
        pass
    return seen


def database_env(server: Server) -> dict[str, str]:
    """What the server's own environment says of home and database."""
    text = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    pairs = dict(one.decode().split("=", 1) for one in text if b"=" in one)
    return {key: pairs[key] for key in ("AUTOMATA_HOME", "AUTOMATA_DATABASE_URL")}


def words(times: Sequence[float]) -> str:
    ordered = sorted(times)
    p50, p99 = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.99))
    return f"p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, worst {1e3 * ordered[-1]:.1f} ms"


def cpu_s(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    pages_ = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages_ * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
