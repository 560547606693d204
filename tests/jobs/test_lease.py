"""A lease is renewed while its holder lives, and lost in time where the database is away."""

from __future__ import annotations

import time

import pytest

from automata_svc.errors import Conflict, LeaseLost, Unavailable
from automata_svc.jobs import lease as leases
from automata_svc.jobs.lease import Lease, held
from tests.jobs.build import job_text


@pytest.fixture
def job(service) -> str:
    return service.submit(job_text(), "job.yaml")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in (("LEASE_S", 1.0), ("RENEW_S", 0.1), ("MARGIN_S", 0.3)):
        monkeypatch.setattr(leases, name, value)


def eventually(is_so, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_it_outlives_its_own_length_while_it_is_renewed_and_brings_the_slots(service, job):
    with held(service.database, job) as lease:
        service.database.set_controller_fields(job, slots=3)
        eventually(lambda: lease.slots == 3)
        eventually(lambda: not service.database.get_head(job).is_leased or lease.left_s > 0.4)
        assert not lease.lost.is_set()
        with pytest.raises(Conflict):
            Lease.take(service.database, job)
    assert not service.database.get_head(job).is_leased


def test_a_holder_that_was_replaced_is_told(service, job):
    told = []
    lease = Lease.take(service.database, job, lambda: told.append(True))
    service.database.release(job, lease.token)  # as if it had run out
    service.database.take_lease(job, "elsewhere:1:0", 30.0)
    eventually(lambda: bool(told))
    assert lease.lost.is_set()
    lease.release()  # not ours any more: nothing happens
    assert service.database.get_head(job).lease_owner == "elsewhere:1:0"


def test_where_the_database_is_away_it_is_given_up_before_it_runs_out(service, job, monkeypatch):
    told: list[float] = []
    began = time.monotonic()
    lease = Lease.take(service.database, job, lambda: told.append(time.monotonic() - began))

    def away(*given, **named):
        raise Unavailable("gone")

    monkeypatch.setattr(service.database, "renew", away)
    eventually(lambda: bool(told))
    assert lease.lost.is_set() and lease.left_s == 0.0


def test_a_database_that_comes_back_in_time_costs_nothing(service, job, monkeypatch):
    lease = Lease.take(service.database, job)
    renew, calls = service.database.renew, []

    def flaky(*given):
        calls.append(1)
        if len(calls) < 3:
            raise Unavailable("busy")
        renew(*given)

    monkeypatch.setattr(service.database, "renew", flaky)
    eventually(lambda: len(calls) > 4)
    assert not lease.lost.is_set()
    lease.release()
    with pytest.raises(LeaseLost):
        service.database.renew(job, lease.token, 1.0)
