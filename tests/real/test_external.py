"""Ask and tell on PostgreSQL: several processes' worth of servers, many clients, one log."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from automata_svc.errors import Unavailable
from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings
from tests.jobs.clients import job_text, values

pytestmark = pytest.mark.real


def test_three_servers_and_nine_clients_never_share_a_segment(
    postgres_url: str, tmp_path: Path
) -> None:
    env = {"AUTOMATA_HOME": str(tmp_path), "AUTOMATA_DATABASE_URL": postgres_url}
    servers = [LocalService(Settings.from_env(env)) for _ in range(3)]
    job = servers[0].submit(job_text(budget={"trials": 24, "price": 9}), "job.yaml")
    given: list[tuple[int, int]] = []
    lock = threading.Lock()

    def patiently(at: int, verb: str, *args: Any, **said: Any) -> Any:
        while True:
            try:
                return getattr(servers[at % 3], verb)(job, *args, **said)
            except Unavailable:  # busy: once more, at another server
                at += 1

    def work(number: int) -> str:
        name, calls = f"client-{number}", number
        while True:
            calls += 1
            answer = patiently(calls, "ask", client_id=name)
            if answer.done:
                return str(answer.done)
            for order in answer.trials:
                with lock:
                    given.append((order.trial, order.segment))
                said = {
                    "client_id": name, "segment": order.segment, "share": order.until_share,
                    "values": values(order.params, order.until_share), "checkpoint": "x",
                }  # fmt: skip
                first = patiently(calls, "tell", order.trial, **said)
                assert patiently(calls + 1, "tell", order.trial, **said) == first

    with ThreadPoolExecutor(9) as pool:
        ended = list(pool.map(work, range(9)))
    assert set(ended) == {"SUCCEEDED"}
    assert len(given) == len(set(given)) == 24 + 3 + 2
    assert servers[0].replay(job) == []
    for server in servers:
        server.database.close()
