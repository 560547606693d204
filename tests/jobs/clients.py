"""Clients that ask and tell as the service's own example does, on curves with a known best."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from automata_svc.database import StoredEvent
from automata_svc.errors import Conflict
from automata_svc.jobs.asktell import AskTell
from automata_svc.jobs.external import External
from automata_svc.jobs.planner import make_plan
from automata_svc.settings import Settings
from automata_svc.spec.load import parse_job
from automata_svc.spec.wire.asks import (
    AskAnswer,
    AskRequest,
    Order,
    TellAnswer,
    TellRequest,
    read,
)
from automata_svc.tuning.engine import Faults
from automata_svc.tuning.plan import SearchPlan
from automata_svc.tuning.runners.simulated import HandClock

LISTED = {"lr": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1], "depth": [2, 4]}
OPEN = {"lr": {"loguniform": [1e-4, 1e-1]}, "depth": {"randint": [2, 6]}}
SHARES = {"shares": [0.02, 0.06, 0.2]}
SCHEDULERS: Mapping[str, Mapping[str, Any]] = {
    "fifo": {"type": "fifo", "max_share": 0.2},
    "successive_halving": {"type": "successive_halving", **SHARES, "keep": [3, 2, 1]},
    "asha": {"type": "asha", **SHARES},
    "asha_promote": {"type": "asha_promote", **SHARES},
}


def job_data(**spec: Any) -> dict[str, Any]:
    """A job of six trials that are trained elsewhere, with keys of its spec replaced."""
    return {
        "apiVersion": "automata/v1",
        "kind": "TuneJob",
        "metadata": {"name": "outside"},
        "spec": {
            "trial": {"external": {"timeout": "10m"}},
            "objective": {"metric": "accuracy"},
            "space": OPEN,
            "scheduler": SCHEDULERS["successive_halving"],
            "budget": {"trials": 6},
            **spec,
        },
    }


def job_text(**spec: Any) -> str:
    return json.dumps(job_data(**spec))


def plan_of(
    search: str = "random", scheduler: str = "successive_halving", seed: int = 3, **spec: Any
) -> SearchPlan:
    """The plan of such a job, for a searcher and a scheduler of the tables."""
    asked: dict[str, Any] = {"type": search, "seed": seed}
    asked |= {"startup_trials": 3} if search == "tpe" else {}
    space = LISTED if search == "grid" else OPEN
    written = SCHEDULERS.get(scheduler, {"type": scheduler})
    text = job_text(**{"search": asked, "space": space, "scheduler": written} | spec)
    return make_plan(parse_job(text), Settings.from_env({"AUTOMATA_HOME": "/nowhere"})).plan


class MemoryDatabase:
    """One job's log, with the lease that guards it: as the database does it, in a list."""

    def __init__(self, plan: SearchPlan) -> None:
        self.record = SimpleNamespace(
            id=plan.job, plan=json.dumps(plan.to_json()), driver="cli", project="p", queue="q",
            created_at=1000.0, revision=1, spec=json.dumps({"spec": {}}),
        )  # fmt: skip
        self.rows: list[StoredEvent] = []
        self.tokens = itertools.count(1)
        self.token, self.held = 0, False

    def get_job(self, job: str) -> Any:
        return self.record

    get_head = get_job

    def events(self, job: str, after: int = 0) -> Iterator[StoredEvent]:
        return iter(self.rows[after:])

    def waiting_commands(self, job: str) -> list[Any]:
        return []

    def take_lease(self, job: str, owner: str, ttl_s: float) -> int:
        if self.held:
            raise Conflict("somebody has it")
        self.token, self.held = next(self.tokens), True
        return self.token

    def release(self, job: str, token: int) -> None:
        self.held = False

    def append(
        self, job: str, token: int, batch: Sequence[tuple[str, str]], at: float, **_: Any
    ) -> int:
        if token != self.token or not self.held:
            raise Conflict("the lease is not held")
        first = len(self.rows) + 1
        self.rows += [StoredEvent(first + i, at, *event) for i, event in enumerate(batch)]
        return first


class Memory:
    """Ask and tell over a MemoryDatabase; `restart` is what a new process would find."""

    def __init__(self, plan: SearchPlan, faults: Callable[[str], None] = lambda name: None) -> None:
        self.plan, self.database, self.clock = plan, MemoryDatabase(plan), HandClock(1000.0)
        self._faults = Faults(faults)
        self.restart()

    def restart(self) -> None:
        database: Any = self.database
        self.external = External(database, self.clock, self._faults)

    def ask(self, job: str, *, client_id: str, count: int = 1, wait_s: float = 0.0) -> AskAnswer:
        request = read(AskRequest, {"client_id": client_id, "count": count})
        return self.external.ask(job, request.client_id, request.count)

    def tell(self, job: str, trial: int, **said: Any) -> TellAnswer:
        return self.external.tell(job, trial, read(TellRequest, said))


class Client:
    """Trains on curves: accuracy rises with share to a ceiling that is highest at lr = 0.01."""

    def __init__(self, service: AskTell, job: str, name: str = "gpu-1") -> None:
        self.service, self.job, self.name = service, job, name
        self.trained: list[tuple[int, int, float]] = []  # trial, segment, share

    def run(self, most: int = 10_000) -> AskAnswer:
        """Trains until the job is over, or nothing more is given out."""
        for _ in range(most):
            answer = self.service.ask(self.job, client_id=self.name)
            if not answer.trials:
                return answer
            self.train(answer.trials[0])
        return answer

    def train(self, order: Order) -> TellAnswer:
        """One segment, to its end."""
        until = order.until_share
        while True:
            reply = self.tell(order, until)
            if reply.decision != "continue" or reply.until_share is None:
                return reply
            until = reply.until_share

    def tell(self, order: Order, share: float, **more: Any) -> TellAnswer:
        self.trained.append((order.trial, order.segment, share))
        said = {"values": values(order.params, share), "loss": 1.0 / (1 + share)} | more
        return self.service.tell(
            self.job, order.trial, client_id=self.name, segment=order.segment, share=share,
            checkpoint=f"trial-{order.trial}-{share:g}.pt", **said,
        )  # fmt: skip


def values(params: Mapping[str, Any], share: float) -> dict[str, float]:
    """What a training would have shown; the same each time."""
    top = 0.9 - 0.1 * abs(math.log10(params["lr"]) + 2) + 0.001 * params["depth"]
    accuracy = top * share / (share + 0.01)
    return {"accuracy": accuracy, "val_loss": 1 - accuracy}
