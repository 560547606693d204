"""Ask and tell: what a client is given, what it is answered, and what is refused, on a real log."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from automata_svc import connect
from automata_svc.database import open_database
from automata_svc.errors import Conflict, NotFound, SpecError, Unavailable
from automata_svc.jobs.external import External
from automata_svc.jobs.local import LocalService
from automata_svc.results.standing import leader
from automata_svc.settings import Settings
from automata_svc.spec.wire.asks import AskRequest, Order, TellRequest, read
from automata_svc.tuning import events as ev
from automata_svc.tuning.runners.simulated import HandClock
from automata_svc.tuning.state import JobState
from tests.jobs.build import job_text as template_job
from tests.jobs.clients import Client, job_text, values


@pytest.fixture
def clock(service: LocalService) -> HandClock:
    """Time for the service's clients, moved by hand."""
    hand = HandClock(1_000_000.0)
    service._external = External(service.database, hand)
    return hand


@pytest.fixture
def job(service: LocalService) -> str:
    return service.submit(job_text(), "job.yaml")


def ask(service: LocalService, job: str, client: str = "gpu-1") -> Order:
    (order,) = service.ask(job, client_id=client).trials
    return order


def tell(service: LocalService, job: str, order: Order, share: float, **said: Any) -> Any:
    fields = {"client_id": "gpu-1", "values": values(order.params, share)} | said
    return service.tell(job, order.trial, segment=order.segment, share=share, **fields)


def kinds(service: LocalService, job: str) -> list[str]:
    return [kind for _, _, kind, _ in service.events(job)]


# ---- a whole job --------------------------------------------------------------------------------


def test_the_readmes_example_runs(home: Settings) -> None:
    with closing(LocalService(home)) as here:
        submitted = here.submit(job_text(), "job.yaml")

    def build(params: dict[str, Any]) -> dict[str, Any]:
        return params

    def train(model: dict[str, Any], share: float) -> dict[str, float]:
        return values(model, share)

    # -- as printed: a model that is trained outside, asked for and told of -----------------------
    service, job, me = connect(), submitted, "gpu-1"  # connect("https://…") for a server
    while not (answer := service.ask(job, client_id=me, wait_s=30)).done:
        for order in answer.trials:
            model = build(order.params)  # or load(order.checkpoint), trained to order.from_share
            until: float | None = order.until_share
            while until is not None:
                metrics = train(model, until)
                reply = service.tell(
                    job, order.trial, client_id=me, segment=order.segment, share=until,
                    values=metrics, checkpoint=f"trial-{order.trial}.pt",
                )  # fmt: skip
                until = reply.until_share  # None: the trial waits or is over; ask for the next
    print(answer.reason)
    # ---------------------------------------------------------------------------------------------
    state = service.state(job)
    best = leader(state)
    assert (state.state, answer.done) == ("SUCCEEDED", "SUCCEEDED")
    assert best is not None and best.rung == 3
    assert service.replay(job) == []
    service.close()


def test_the_first_ask_starts_the_job_and_its_first_trial_in_one_transaction(service, job):
    assert service.find(job).state == "QUEUED"
    order = ask(service, job)
    assert (order.trial, order.segment, order.share, order.from_share) == (0, 0, 0.0, 0.0)
    assert order.until_share == 0.02 and order.checkpoint is None
    assert set(order.params) == {"lr", "depth"}
    assert service.find(job).state == "RUNNING"
    assert len({at for _, at, _, _ in service.events(job)}) == 1
    assert kinds(service, job) == [
        "driver_started", "job_state", "subset_ready", "trial_proposed", "segment_started",
        "segment_claimed",
    ]  # fmt: skip


def test_settings_reach_every_trial_beside_its_own_parameters(service):
    trial = {"external": {"timeout": "1h"}, "settings": {"dataset": "s3://mine", "epochs": 30}}
    order = ask(service, service.submit(job_text(trial=trial), "job.yaml"))
    assert order.params["dataset"] == "s3://mine" and order.params["epochs"] == 30


def test_a_trial_that_goes_on_is_given_the_checkpoint_that_was_told_of_it(service, job):
    client = Client(service, job)
    client.run(most=6)  # the first rung is complete
    order = ask(service, job)
    assert order.segment == 1 and order.from_share == order.share == 0.02
    assert order.checkpoint == f"trial-{order.trial}-0.02.pt"
    assert order.until_share == 0.06 and order.reason == "promoted from rung 1"


def test_without_checkpoints_a_trial_starts_over_and_no_pass_is_paid_twice(service):
    job = service.submit(job_text(), "job.yaml")
    while (answer := service.ask(job, client_id="gpu-1")).trials:
        (order,) = answer.trials
        assert order.from_share == 0.0
        tell(service, job, order, order.until_share)
    state = service.state(job)
    assert state.price == pytest.approx(6 * 0.02 + 3 * 0.04 + 2 * 0.14)


def test_what_is_trained_again_after_a_loss_is_counted_apart(service, job, clock):
    order = ask(service, job)
    tell(service, job, order, 0.01)
    clock.now += 601
    again = ask(service, job, "gpu-2")
    assert (again.trial, again.segment, again.share) == (0, 1, 0.0)
    tell(service, job, again, 0.01, client_id="gpu-2")
    state = service.state(job)
    assert state.price == pytest.approx(0.01)
    assert state.plan.price(state.redone.train_rows, 0) == pytest.approx(0.01)


# ---- who holds what -----------------------------------------------------------------------------


def test_a_client_that_asks_again_gets_its_own_trial_back_and_nothing_is_written(service, job):
    order = ask(service, job)
    written = len(service.events(job))
    tell(service, job, order, 0.01, checkpoint="half.pt")
    again = ask(service, job)
    assert (again.trial, again.segment, again.params) == (order.trial, order.segment, order.params)
    assert (again.share, again.from_share, again.checkpoint) == (0.01, 0.01, "half.pt")
    assert len(service.events(job)) == written + 1


def test_a_client_may_hold_several_trials_and_gets_all_of_them_back(service, job):
    first = service.ask(job, client_id="gpu-1", count=3)
    assert [order.trial for order in first.trials] == [0, 1, 2]
    assert service.ask(job, client_id="gpu-1", count=3) == first
    more = service.ask(job, client_id="gpu-1", count=4)
    assert [order.trial for order in more.trials] == [0, 1, 2, 3]
    assert [o.trial for o in service.ask(job, client_id="gpu-2", count=9).trials] == [4, 5]


def test_a_client_that_falls_silent_loses_its_trial_to_the_next_that_asks(service, job, clock):
    order = ask(service, job)
    clock.now += 599
    assert ask(service, job, "gpu-2").trial == 1
    clock.now += 2
    taken = ask(service, job, "gpu-3")
    assert (taken.trial, taken.segment) == (0, 1)
    assert taken.reason == "retry 1 after: client lost"
    late = tell(service, job, order, 0.02)
    assert late.decision == "stop" and "said nothing for 601 s" in late.reason
    assert [order.trial for order in service.ask(job, client_id="gpu-1").trials] == [2]
    assert service.replay(job) == []


def test_telling_and_asking_are_signs_of_life(service, job, clock):
    order = ask(service, job)
    for share in (0.005, 0.01, 0.015):
        clock.now += 500
        tell(service, job, order, share)
    clock.now += 500
    assert ask(service, job) == order.model_copy(update={"share": 0.015})
    clock.now += 500
    assert ask(service, job, "gpu-2").trial == 1
    assert kinds(service, job).count("segment_claimed") == 3  # the one that asked again, too


def test_a_trial_lost_too_often_fails_and_the_job_goes_on(service, clock):
    job = service.submit(job_text(failure={"trial_retries": 1}), "job.yaml")
    for client in ("a", "b", "c"):
        order = ask(service, job, client)
        clock.now += 601
    assert order.trial == 1
    lost = service.state(job).trials[0]
    assert lost.state == "FAILED" and "client lost" in lost.move.reason
    Client(service, job, "d").run()
    assert service.find(job).state == "SUCCEEDED"


def test_a_lost_client_that_comes_back_first_keeps_its_trial(service, job, clock):
    order = ask(service, job)
    clock.now += 10_000
    assert ask(service, job).trial == order.trial
    assert tell(service, job, order, 0.02).decision == "wait"


def test_parallelism_limits_what_is_given_out(service):
    job = service.submit(job_text(parallelism=2), "job.yaml")
    assert [ask(service, job, client).trial for client in ("a", "b")] == [0, 1]
    answer = service.ask(job, client_id="c")
    assert answer.trials == () and answer.wait is not None and answer.wait > 0
    assert "as many as spec.parallelism lets run" in answer.reason


def test_parallelism_that_is_changed_limits_what_is_given_out_next(service):
    job = service.submit(job_text(parallelism=1), "job.yaml")
    ask(service, job, "a")
    assert service.ask(job, client_id="b").trials == ()
    service.change(job, {"parallelism": 2})
    assert ask(service, job, "b").trial == 1
    assert service.ask(job, client_id="c").trials == ()
    service.change(job, {"parallelism": None})
    assert [ask(service, job, client).trial for client in ("c", "d")] == [2, 3]
    service.change(job, {"parallelism": 1})
    assert ask(service, job, "d").trial == 3  # what was given out stays
    assert service.ask(job, client_id="e").trials == ()
    assert service.replay(job) == []


def test_who_waits_for_others_is_told_so_and_writes_nothing(service, job):
    orders = [ask(service, job, f"c{i}") for i in range(6)]
    written = len(service.events(job))
    answer = service.ask(job, client_id="late")
    assert (answer.trials, answer.done) == ((), None) and answer.wait is not None
    assert "6 segment(s) are with 6 client(s)" in answer.reason
    assert len(service.events(job)) == written
    for i, order in enumerate(orders):
        tell(service, job, order, 0.02, client_id=f"c{i}")
    assert len(service.ask(job, client_id="late").trials) == 1


def test_two_processes_and_eight_clients_never_share_a_segment(home, service):
    job = service.submit(job_text(budget={"trials": 24, "price": 9}), "job.yaml")
    databases = [open_database(home.database_url) for _ in range(2)]
    replicas = [External(database) for database in databases]
    given: list[tuple[int, int]] = []
    lock = threading.Lock()

    def work(number: int) -> str:
        name, calls = f"client-{number}", number
        while True:
            calls += 1
            answer = patiently(lambda at=calls: replicas[at % 2].ask(job, name))
            if answer.done:
                return str(answer.done)
            for order in answer.trials:
                with lock:
                    given.append((order.trial, order.segment))
                said = {
                    "client_id": name, "segment": order.segment, "share": order.until_share,
                    "values": values(order.params, order.until_share), "checkpoint": "x",
                }  # fmt: skip
                request = read(TellRequest, said)
                patiently(
                    lambda at=calls, o=order, r=request: replicas[at % 2].tell(job, o.trial, r)
                )

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(work, range(8)))
    for database in databases:
        database.close()
    assert set(ended) == {"SUCCEEDED"}
    assert len(given) == len(set(given)) == 24 + 3 + 2
    assert service.replay(job) == []


def patiently(call: Callable[[], Any]) -> Any:
    while True:
        try:
            return call()
        except Unavailable:  # busy: ask again, as a client does
            continue


def test_a_process_that_kept_the_state_sees_what_another_wrote(home, service, job):
    database = open_database(home.database_url)
    other = External(database)
    order = ask(service, job)
    assert [o.trial for o in other.ask(job, "gpu-1").trials] == [order.trial]
    tell(service, job, order, 0.02)
    (second,) = other.ask(job, "gpu-1").trials
    assert second.trial == 1
    assert ask(service, job).trial == 1
    database.close()


# ---- what is told -------------------------------------------------------------------------------


def test_the_same_told_twice_is_stored_once_and_answered_the_same(service):
    job = service.submit(job_text(scheduler={"type": "asha", "shares": [0.02, 0.2]}), "job.yaml")
    order = ask(service, job)
    half, first = tell(service, job, order, 0.01), tell(service, job, order, 0.02)
    assert (half.decision, half.until_share) == ("continue", 0.02)
    assert (first.decision, first.until_share) == ("continue", 0.2)
    written = len(service.events(job))
    assert tell(service, job, order, 0.02) == first and tell(service, job, order, 0.01) == half
    last = tell(service, job, order, 0.2)
    assert (last.decision, last.reason) == ("stop", "reached the last rung")
    after = len(service.events(job))
    assert [tell(service, job, order, share) for share in (0.2, 0.02, 0.01)] == [last, first, half]
    assert (written, len(service.events(job))) == (written, after)


def test_the_same_share_with_other_values_is_a_conflict(service, job):
    order = ask(service, job)
    tell(service, job, order, 0.01, loss=2.0)
    for said in ({"values": {"accuracy": 0.1}}, {"loss": 1.0}, {"loss": 2.0, "grad_norm": 3.0}):
        with pytest.raises(Conflict, match=r"was told of at share 0\.01 already, with"):
            tell(service, job, order, 0.01, **({"loss": 2.0} | said))


def test_a_report_from_before_the_last_one_is_out_of_order(service, job):
    order = ask(service, job)
    tell(service, job, order, 0.015)
    with pytest.raises(Conflict, match=r"stands at share 0\.015 already, and 0\.01 is not above"):
        tell(service, job, order, 0.01)
    with pytest.raises(Conflict, match="go on above it"):  # less than a pass further
        tell(service, job, order, 0.01504)


def test_a_share_beyond_the_rung_names_the_rung(service, job):
    with pytest.raises(SpecError, match=r"share: 0\.03 is beyond 0\.02, .*trial\.external\.passes"):
        tell(service, job, ask(service, job), 0.03)


def test_a_rung_without_the_objective_is_refused_and_can_be_told_again(service, job):
    order = ask(service, job)
    with pytest.raises(
        SpecError, match=r"accuracy is due at share 0\.02 .* told was acuracy, loss"
    ):
        tell(service, job, order, 0.02, values={"acuracy": 0.5, "loss": 1.0})
    assert tell(service, job, order, 0.02).decision == "wait"


@pytest.mark.parametrize("spoiled", [math.nan, math.inf, "nan", "-inf"])
def test_an_objective_that_is_not_finite_never_goes_on(service, job, spoiled):
    order = ask(service, job)
    reply = tell(service, job, order, 0.02, values={"accuracy": spoiled})
    assert reply.decision == "stop" and "not a finite number" in reply.reason
    assert tell(service, job, order, 0.02, values={"accuracy": spoiled}) == reply
    assert service.state(job).trials[0].state == "PRUNED"


def test_a_loss_that_is_not_finite_ends_the_trial(service, job):
    reply = tell(service, job, ask(service, job), 0.01, loss=math.nan)
    assert reply.decision == "stop" and "not finite" in reply.reason
    assert service.state(job).trials[0].state == "STOPPED"


def test_a_loss_that_runs_away_ends_the_trial(service, job):
    order = ask(service, job)
    for share, loss in ((0.002, 1.0), (0.004, 1.1)):
        assert tell(service, job, order, share, loss=loss, grad_norm=1.0).decision == "continue"
    reply = tell(service, job, order, 0.006, loss=9.0)
    assert reply.decision == "stop" and "first pass's" in reply.reason
    guard = service.state(job).trials[0].guard
    assert guard is not None and guard.rule == "divergence"


def test_guards_that_are_not_asked_for_do_not_fire(service):
    job = service.submit(job_text(guards=[]), "job.yaml")
    order = ask(service, job)
    assert tell(service, job, order, 0.01, loss=math.inf).decision == "continue"


def test_a_failure_is_final_unless_a_retry_is_asked_for(service, job):
    order = ask(service, job)
    said = {"client_id": "gpu-1", "segment": order.segment}
    once = service.tell(job, order.trial, failed="out of memory", retry=True, **said)
    assert once.decision == "stop" and "out of memory" in once.reason
    again = ask(service, job)
    assert (again.trial, again.segment, again.reason) == (0, 1, "retry 1 after: client failed")
    service.tell(job, 0, client_id="gpu-1", segment=1, failed="ValueError: depth")
    trial = service.state(job).trials[0]
    assert (trial.state, trial.move.reason) == ("FAILED", "client failed: ValueError: depth")
    assert service.tell(job, order.trial, failed="out of memory", retry=True, **said) == once
    assert ask(service, job).trial == 1


def test_a_training_that_ends_early_stands_for_the_rung_and_is_paid_as_trained(service, job):
    order = ask(service, job)
    reply = tell(service, job, order, 0.012, done=True)
    assert reply.decision == "wait"
    assert tell(service, job, order, 0.012, done=True) == reply
    state = service.state(job)
    assert state.trials[0].rung == 1 and state.price == pytest.approx(0.012)


def test_passes_of_a_training_are_where_rungs_land(service):
    trial = {"external": {"passes": 30}}
    job = service.submit(job_text(trial=trial), "job.yaml")
    order = ask(service, job)
    assert order.until_share == pytest.approx(1 / 30)
    with pytest.raises(SpecError, match=r"is beyond 0\.0333333"):
        tell(service, job, order, 0.1)
    assert tell(service, job, order, 0.0333).decision == "wait"  # as written with four digits


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"trial": 9}, NotFound, r"has no trial 9; its trials are 0 to 0"),
        ({"segment": 4}, NotFound, r"trial 0 has no segment 4; its last is 0"),
        ({"client_id": "gpu-2"}, Conflict, r"is client gpu-1's, not gpu-2's"),
    ],
)
def test_what_is_not_the_clients_own_is_refused(service, job, fields, error, match):
    ask(service, job)
    said = {"trial": 0, "client_id": "gpu-1", "segment": 0, "share": 0.01} | fields
    with pytest.raises(error, match=match):
        service.tell(job, said.pop("trial"), **said)


def test_a_segment_nobody_asked_for_is_refused(service, job):
    order = ask(service, job)
    tell(service, job, order, 0.02)  # what comes next is started, and waits for a client
    with pytest.raises(Conflict, match="is nobody's yet; ask for it first"):
        service.tell(job, 1, client_id="gpu-1", segment=0, share=0.01)


def test_what_comes_after_the_end_of_a_segment_is_refused_with_its_end(service, job):
    order = ask(service, job)
    tell(service, job, order, 0.02)
    with pytest.raises(Conflict, match=r"segment 0 of trial 0 ended at share 0\.02: waits for the"):
        tell(service, job, order, 0.03)


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"share": 0.0}, "share"),
        ({"share": 1.5}, "share"),
        ({"share": 0.1, "vales": {}}, "vales"),
        ({"share": 0.1, "values": {"accuracy": True}}, "values.accuracy"),
        ({"share": 0.1, "values": {"accuracy": "high"}}, "values.accuracy"),
        ({"share": 0.1, "values": {"a\x00": 1.0}}, "values"),
        ({"share": 0.1, "checkpoint": "a\nb"}, "checkpoint"),
        ({"share": 0.1, "failed": "both"}, ""),
        ({"share": 0.1, "retry": True}, ""),
        ({}, ""),
        ({"share": 0.1, "client_id": "a b"}, "client_id"),
        ({"share": 0.1, "segment": -1}, "segment"),
    ],
)
def test_a_report_that_is_not_one_is_a_mistake_with_its_pointer(service, job, said, pointer):
    with pytest.raises(SpecError) as caught:
        service.tell(job, 0, **({"client_id": "gpu-1", "segment": 0} | said))
    assert all(problem.pointer.startswith(pointer) for problem in caught.value.problems)


def test_a_number_of_any_library_is_a_number() -> None:
    import numpy as np

    said = {"client_id": "a", "segment": 0, "share": 0.5, "values": {"x": np.float32(0.5)}}
    request = read(TellRequest, said)
    assert request.values == {"x": 0.5}
    spoiled = read(TellRequest, said | {"values": {"x": float("inf"), "y": "nan"}, "loss": None})
    sent = json.loads(spoiled.model_dump_json())
    assert sent["values"] == {"x": "inf", "y": "nan"} and sent["loss"] is None
    assert read(TellRequest, sent).values["x"] == math.inf


@pytest.mark.parametrize(
    "fields", [{"count": 0}, {"count": 101}, {"wait_s": 31}, {"client_id": ""}]
)
def test_an_ask_has_bounds(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        read(AskRequest, {"client_id": "gpu-1"} | fields)


# ---- the life of the job ------------------------------------------------------------------------


def test_a_job_that_trains_its_own_trials_has_no_use_for_clients(service):
    job = service.submit(template_job(), "job.yaml")
    with pytest.raises(Conflict, match="trains its trials itself"):
        service.ask(job, client_id="gpu-1")
    with pytest.raises(Conflict, match="trains its trials itself"):
        service.tell(job, 0, client_id="gpu-1", segment=0, share=0.1)


def test_a_job_is_found_by_name_and_by_the_beginning_of_its_id(service, job):
    assert [o.trial for o in service.ask("outside", client_id="gpu-1").trials] == [0]
    assert [o.trial for o in service.ask(job[:12], client_id="gpu-1").trials] == [0]
    with pytest.raises(NotFound, match="no job 'inside'"):
        service.ask("inside", client_id="gpu-1")


def test_a_paused_job_takes_reports_gives_nothing_out_and_goes_on_where_it_was(service, job, clock):
    order = ask(service, job)
    service.pause(job, "maintenance")
    answer = service.ask(job, client_id="gpu-1")
    assert answer.trials == () and answer.wait is not None and "maintenance" in answer.reason
    reply = tell(service, job, order, 0.01, checkpoint="half.pt")
    assert reply.decision == "wait" and "paused" in reply.reason
    clock.now += 5000
    service.external.resume(job)
    again = ask(service, job)
    assert (again.trial, again.segment, again.share) == (0, 0, 0.01)
    assert ask(service, job, "gpu-2").trial == 1  # a pause is no silence
    assert service.replay(job) == []


def test_a_stopped_job_tells_its_clients_to_stop(service, job):
    order = ask(service, job)
    service.stop(job, "enough")
    assert service.ask(job, client_id="gpu-1").done == "CANCELLED"
    reply = tell(service, job, order, 0.01)
    assert reply.decision == "stop" and "enough" in reply.reason
    assert kinds(service, job)[-1] == "job_state"
    with pytest.raises(Conflict, match="already finished"):
        service.external.resume(job)


def test_a_command_that_came_while_another_held_the_job_is_carried_out(service, job):
    ask(service, job)
    service.database.add_command(job, "pause", json.dumps({"reason": "later"}), 1.0)
    assert "later" in service.ask(job, client_id="gpu-1").reason
    service.database.add_command(job, "resume", "{}", 2.0)
    assert ask(service, job).trial == 0
    assert service.database.waiting_commands(job) == []


def test_a_stopped_jobs_checkpoints_are_the_clients_and_stay(service, job):
    """A client names what it likes; no name of it may reach our own store."""
    service.store.put("checkpoints/other/0/1-s0.pt", b"somebody's")
    order = ask(service, job)
    tell(service, job, order, 0.01, checkpoint="checkpoints/other/0/1-s0.pt")
    tell(service, job, order, 0.02, checkpoint="mine")
    service.stop(job)
    assert service.store.exists("checkpoints/other/0/1-s0.pt")


def test_who_holds_the_lease_for_long_makes_others_ask_again(service, job, monkeypatch):
    monkeypatch.setattr("automata_svc.jobs.external.PATIENCE_S", 0.05)
    token = service.database.take_lease(job, "elsewhere:1:1", 60.0)
    with pytest.raises(Unavailable, match="is busy with other clients; ask again"):
        service.ask(job, client_id="gpu-1")
    service.database.release(job, token)
    assert ask(service, job).trial == 0


def test_a_waiting_ask_is_answered_when_there_is_something(service):
    job = service.submit(job_text(parallelism=1), "job.yaml")
    order = ask(service, job)
    timer = threading.Timer(0.2, lambda: tell(service, job, order, 0.02))
    timer.start()
    answer = service.ask(job, client_id="gpu-2", wait_s=20)
    timer.join()
    assert [o.trial for o in answer.trials] == [1]


def test_tune_and_resume_look_on_until_the_clients_are_done(service, job):
    seen: list[ev.Event] = []
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(service.drive, job, lambda state, events: seen.extend(events))
        while not looking.running():
            pass
        Client(service, job).run()
        state = looking.result(timeout=20)
    assert state.state == "SUCCEEDED" and state.seq == len(service.events(job))
    assert all(isinstance(event, ev.Event) for event in seen)


def test_an_upgrade_in_the_middle_is_on_record_and_nobody_loses_a_trial(service, job, monkeypatch):
    order = ask(service, job)
    monkeypatch.setattr("automata_svc.jobs.external.__version__", "9.9.9")
    monkeypatch.setattr(
        "automata_svc.jobs.external.versions", lambda: {"automata": "9.9.9", "python": "3"}
    )
    assert ask(service, job) == order
    assert kinds(service, job).count("driver_started") == 2
    assert tell(service, job, order, 0.02).decision == "wait"


@pytest.fixture
def service(home: Settings) -> Iterator[LocalService]:
    one = LocalService(home)
    yield one
    one.database.close()


# ---- killed -------------------------------------------------------------------------------------

WORKER = """
import sys
from automata_svc.jobs.local import LocalService
from tests.jobs.clients import Client

class Loud(Client):
    def tell(self, order, share, **more):
        print("telling", flush=True)
        reply = super().tell(order, share, **more)
        print("told", flush=True)
        return reply

Loud(LocalService(), sys.argv[1]).run()
print("over", flush=True)
"""


def decided(state: JobState) -> Any:
    best = leader(state)
    return (
        state.state,
        [(dict(t.params), t.origin, t.state) for t in state.trials],
        [
            [(d.rung, d.verdict, d.rule, d.rank, d.metric) for d in t.decisions]
            for t in state.trials
        ],
        None if best is None else best.number,
        pytest.approx(state.price),
    )


def test_clients_and_the_service_in_them_killed_for_good_change_nothing(service):
    """SIGKILL, with a lease that nobody gives back; the next process takes it over at once."""
    spec = {"scheduler": {"type": "asha_promote", "shares": [0.02, 0.06, 0.2]}}
    unharmed, killed = (service.submit(job_text(**spec), "job.yaml") for _ in range(2))
    Client(service, unharmed).run()
    for lines in (1, 4, 7, 0):  # killed after so many lines; the last one may finish
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, killed], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        seen = [line for line in itertools.islice(worker.stdout, lines or None) if line]
        if lines:
            worker.kill()
        worker.wait(timeout=60)
        worker.stdout.close()
    assert seen[-1] == "over\n"
    assert decided(service.state(killed)) == decided(service.state(unharmed))
    assert service.replay(killed) == []
