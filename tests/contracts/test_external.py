"""Every searcher with every scheduler, driven by clients that ask and tell: kill anything."""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from automata_svc.errors import Conflict, NotFound, SpecError
from automata_svc.jobs import asking
from automata_svc.jobs.replay import divergences
from automata_svc.results.standing import leader
from automata_svc.spec.wire.asks import AskAnswer, Order, TellAnswer
from automata_svc.tuning.engine import FAULT_POINTS
from automata_svc.tuning.events import decode, encode
from automata_svc.tuning.evolve import evolve
from automata_svc.tuning.schedulers import SCHEDULERS
from automata_svc.tuning.searchers import SEARCHERS
from automata_svc.tuning.state import JobState
from tests.jobs.clients import Client, Memory, plan_of, values

pairs = pytest.mark.parametrize(
    ("search", "scheduler"), [(a, b) for a in sorted(SEARCHERS) for b in sorted(SCHEDULERS)]
)


class Killed(BaseException):
    """The process that serves died here."""


class DiesAt:
    """Dies when it comes to a named point for the n-th time, once."""

    def __init__(self, point: str, count: int) -> None:
        self.point, self.left, self.died = point, count, False

    def __call__(self, name: str) -> None:
        self.left -= name == self.point
        if self.left == 0 and not self.died:
            self.died = True
            raise Killed


class Patient:
    """A client's network: what got no answer is said again, to the process that came after."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.killed = memory, 0

    def ask(self, job: str, **said: Any) -> AskAnswer:
        return self._again(lambda: self.memory.ask(job, **said))

    def tell(self, job: str, trial: int, **said: Any) -> Any:
        return self._again(lambda: self.memory.tell(job, trial, **said))

    def _again(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except Killed:
                self.killed += 1
                self.memory.clock.now += 1.0
                self.memory.restart()


def state_of(memory: Memory) -> JobState:
    state = JobState(memory.plan)
    for row in memory.database.rows:
        evolve(state, row.seq, row.at, decode(row.kind, row.body))
    return state


def outcome(memory: Memory) -> dict[str, Any]:
    """What promise 2 is about: proposals, decisions with their reasons, and the winner."""
    state = state_of(memory)
    best = leader(state)
    return {
        "state": (state.state, state.move.reason),
        "proposals": [(t.number, dict(t.params), t.origin) for t in state.trials],
        "decisions": [
            [(d.rung, d.verdict, d.rule, d.size, d.rank, d.cutoff, d.metric) for d in t.decisions]
            for t in state.trials
        ],
        "ends": [(t.state, t.segment) for t in state.trials],
        "winner": best and (best.number, best.last_value),
        "price": pytest.approx(state.price),
    }


def unharmed(search: str, scheduler: str) -> tuple[Memory, Counter[str]]:
    seen = Counter[str]()

    def count(name: str) -> None:
        seen[name] += 1

    memory = Memory(plan_of(search, scheduler), count)
    Client(memory, memory.plan.job).run()
    return memory, seen


@pairs
def test_a_job_that_is_trained_elsewhere_ends_with_a_winner_and_replays(search, scheduler):
    memory, _ = unharmed(search, scheduler)
    state = state_of(memory)
    assert (state.state, len(state.trials)) == ("SUCCEEDED", 6)
    assert all(trial.is_over and trial.move.reason for trial in state.trials)
    assert divergences(memory.plan, memory.database.rows) == []
    stored = [(row.kind, row.body) for row in memory.database.rows]
    assert [encode(decode(kind, body)) for kind, body in stored] == stored
    best = leader(state)
    assert best is not None and best.rung == max(trial.rung for trial in state.trials)
    top = [trial.last_value for trial in state.trials if trial.rung == best.rung]
    assert best.last_value is not None
    assert best.last_value.metric == max(value.metric for value in top if value is not None)


@pairs
def test_a_process_killed_between_any_two_steps_changes_nothing(search, scheduler):
    memory, seen = unharmed(search, scheduler)
    expected = outcome(memory)
    assert set(seen) == set(FAULT_POINTS) and seen["appended"] >= 12
    for point in FAULT_POINTS:
        for dies_at in range(1, seen[point] + 1):
            faults = DiesAt(point, dies_at)
            again = Memory(memory.plan, faults)
            Client(Patient(again), memory.plan.job).run()
            assert faults.died
            assert outcome(again) == expected, f"killed at {point} {dies_at}"


class Died(Exception):
    """A client's process ended here."""


class Forgetful(Client):
    """Dies before it tells, or before it hears the answer; starts again with its name alone."""

    def __init__(self, memory: Memory, job: str, draw: random.Random) -> None:
        super().__init__(memory, job)
        self.draw, self.deaths = draw, 0

    def run(self, most: int = 10_000) -> AskAnswer:
        while True:
            try:
                return super().run(most)
            except Died:
                self.deaths += 1

    def train(self, order: Order) -> TellAnswer:
        half = (order.share + order.until_share) / 2
        if self.draw.random() < 0.5:
            self.tell(order, half)
        return super().train(order)

    def tell(self, order: Order, share: float, **more: Any) -> TellAnswer:
        self._may_die()
        reply = super().tell(order, share, **more)
        self._may_die()
        return reply

    def _may_die(self) -> None:
        if self.draw.random() < 0.15:
            raise Died


@pairs
def test_a_client_that_dies_gets_its_own_trial_back_and_changes_nothing(search, scheduler):
    expected = outcome(unharmed(search, scheduler)[0])
    draw, deaths = random.Random(f"{search} {scheduler}"), 0
    for _ in range(4):
        memory = Memory(plan_of(search, scheduler))
        client = Forgetful(memory, memory.plan.job, draw)
        client.run()
        deaths += client.deaths
        assert outcome(memory) == expected
    assert deaths > 4


@pairs
def test_several_clients_never_get_the_same_segment_and_none_is_left_over(search, scheduler):
    memory = Memory(plan_of(search, scheduler, budget={"trials": 9}))
    clients = [Client(memory, memory.plan.job, f"gpu-{i}") for i in range(3)]
    given: list[tuple[int, int]] = []
    draw = random.Random(7)
    open_orders: dict[str, Order] = {}
    while True:
        client = draw.choice(clients)
        if client.name in open_orders:
            client.train(open_orders.pop(client.name))
            continue
        answer = memory.ask(memory.plan.job, client_id=client.name)
        if answer.done:
            break
        for order in answer.trials:
            given.append((order.trial, order.segment))
            open_orders[client.name] = order
    assert len(given) == len(set(given))
    state = state_of(memory)
    assert state.state == "SUCCEEDED" and not state.open
    assert divergences(memory.plan, memory.database.rows) == []


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
def test_a_sequential_searcher_learns_from_what_clients_tell(scheduler):
    late: dict[str, list[float]] = {}
    for search in ("random", "tpe"):
        for seed in range(3):
            memory = Memory(plan_of(search, scheduler, seed, budget={"trials": 30}))
            Client(memory, memory.plan.job).run()
            found = [abs(math.log10(t.params["lr"]) + 2) for t in state_of(memory).trials[15:]]
            late.setdefault(search, []).extend(found)
    if SCHEDULERS[scheduler].synchronous:  # all are proposed before the first is over
        return
    mean = {search: sum(found) / len(found) for search, found in late.items()}
    assert mean["tpe"] < 0.8 * mean["random"]


class Anybody:
    """Clients that do whatever comes to mind, on a service that is restarted now and then."""

    def __init__(self, memory: Memory, draw: random.Random) -> None:
        self.memory, self.draw, self.job = memory, draw, memory.plan.job
        self.names = [f"gpu-{i}" for i in range(4)]
        self.said: list[tuple[dict[str, Any], TellAnswer]] = []  # with what was answered

    def act(self) -> None:
        act = self.draw.choice(
            [self.ask, self.ask, self.tell, self.tell, self.tell, self.again, self.nonsense,
             self.fail, self.silence, self.pause, self.memory.restart]
        )  # fmt: skip
        act()

    def ask(self) -> None:
        name, count = self.draw.choice(self.names), self.draw.choice([1, 1, 2])
        answer = self.memory.ask(self.job, client_id=name, count=count)
        assert (answer.done is not None) + (answer.wait is not None) + bool(answer.trials) == 1
        assert answer.reason or answer.trials
        for order in answer.trials:
            assert order.share < order.until_share <= 1 and order.from_share <= order.share + 1e-9

    def _open(self) -> tuple[str, Order] | None:
        held = [
            (one.client, asking.order(state, state.trials[number]))
            for state in [self._state()]
            for number, one in state.open.items()
            if one.client is not None
        ]
        name, order = self.draw.choice(held) if held else (None, None)
        return None if name is None or order is None else (name, order)

    def _state(self) -> JobState:
        with self.memory.external._desk(self.job) as desk:
            return self.memory.external._current(self.job, desk).state

    def tell(self) -> None:
        found = self._open()
        if found is None:
            return
        name, order = found
        part = self.draw.choice([0.5, 1.0, 1.0])
        share = order.share + part * (order.until_share - order.share)
        spoiled = self.draw.random() < 0.05
        said = {
            "trial": order.trial, "client_id": name, "segment": order.segment, "share": share,
            "values": {"accuracy": math.nan} if spoiled else values(order.params, share),
            "loss": math.inf if self.draw.random() < 0.03 else 1.0,
            "checkpoint": f"{order.trial}.pt" if self.draw.random() < 0.7 else None,
        }  # fmt: skip
        reply = self.memory.tell(self.job, **said)
        assert reply.reason or reply.decision == "continue"
        assert (reply.until_share is not None) == (reply.decision == "continue")
        self.said.append((said, reply))

    def again(self) -> None:
        """The same once more: the same answer, and nothing is written."""
        if self.said:
            said, before = self.draw.choice(self.said)
            written = len(self.memory.database.rows)
            reply = self.memory.tell(self.job, **said)
            assert len(self.memory.database.rows) == written
            if "paused" not in before.reason + reply.reason:
                assert reply == before

    def nonsense(self) -> None:
        said = {
            "trial": self.draw.randrange(8), "client_id": self.draw.choice(self.names),
            "segment": self.draw.randrange(3), "share": self.draw.choice([1e-9, 0.001, 0.02, 1.0]),
            "values": {"loss": 1.0},
        }  # fmt: skip
        written = len(self.memory.database.rows)
        with contextlib.suppress(Conflict, NotFound, SpecError):
            self.memory.tell(self.job, **said)
            return
        assert len(self.memory.database.rows) == written

    def fail(self) -> None:
        found = self._open()
        if found is not None and self.draw.random() < 0.3:
            name, order = found
            self.memory.tell(
                self.job, order.trial, client_id=name, segment=order.segment,
                failed="it broke", retry=self.draw.random() < 0.8,
            )  # fmt: skip

    def silence(self) -> None:
        self.memory.clock.now += self.draw.choice([1, 30, 700])

    def pause(self) -> None:
        if self.draw.random() < 0.3 and not self._state().is_over:
            self.memory.external.command(self.job, "pause", "a break")
        if self._state().state == "PAUSED":
            self.memory.external.command(self.job, "resume", "")


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
@pytest.mark.parametrize("search", ["random", "tpe"])
def test_whatever_clients_do_the_log_stays_sound_and_the_job_ends(search, scheduler):
    for seed in range(8):
        memory = Memory(plan_of(search, scheduler, seed, failure={"max_failed_trials": 4}))
        anybody = Anybody(memory, random.Random(seed))
        for _ in range(120):
            anybody.act()
        held = [(one.client, number) for number, one in state_of(memory).open.items()]
        assert len(held) == len({number for _, number in held})
        memory.clock.now += 10_000  # everybody else has gone
        assert Client(memory, memory.plan.job, "last").run().done in ("SUCCEEDED", "FAILED")
        state = state_of(memory)
        assert all(trial.is_over and trial.move.reason for trial in state.trials)
        assert divergences(memory.plan, memory.database.rows) == []
