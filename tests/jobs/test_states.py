"""States that are kept say what their logs say, at any time and from any thread."""

from __future__ import annotations

import json
import threading

import pytest

from automata_svc.errors import NotFound
from automata_svc.jobs.states import States
from automata_svc.results.result import result
from tests.jobs.build import job_text
from tests.jobs.test_local import drive, on_events


def plan_of(service, job):
    return lambda: service.database.get_job(job).plan


def test_a_kept_state_follows_its_log(service):
    job = service.submit(job_text(), "job.yaml")
    states = States(service.database)
    seen = []

    def look(state, event):
        with states.of(job, plan_of(service, job)) as kept:
            seen.append((kept.seq, json.dumps(result(kept)) == json.dumps(result(state))))

    drive(service, job, on_events(look))
    assert len(seen) > 20
    assert [seq for seq, _ in seen] == sorted(seq for seq, _ in seen)
    # Events of one batch are handed over one after another, when all of them are stored.
    assert all(same for _, same in seen)


def test_threads_that_ask_at_once_get_one_state_each_whole(finished):
    service, job = finished
    states = States(service.database)
    found, errors = [], []

    def ask():
        try:
            with states.of(job, plan_of(service, job)) as state:
                found.append((id(state), state.seq, len(state.trials)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(found)) == 1


def test_no_more_is_kept_than_was_said(finished):
    service, job = finished
    reads = []

    def plan(name):
        def text():
            reads.append(name)
            return service.database.get_job(job).plan

        return text

    class Same:
        """Every name stands for the finished job."""

        def events(self, name, after=0):
            return service.database.events(job, after)

    total = service.find(job).summary is not None and service.state(job).seq
    states = States(Same(), max_events=2 * total)  # two of them
    for name in ("a", "b", "a", "c", "a", "b"):
        with states.of(name, plan(name)):
            pass
    assert reads == ["a", "b", "c", "b"]
    states = States(Same(), max_events=1)  # the last one stays, however large it is
    for name in ("a", "a", "b", "a"):
        with states.of(name, plan(name)):
            pass
    assert reads[4:] == ["a", "b", "a"]


def test_an_error_of_the_one_who_asks_loses_nothing(finished):
    service, job = finished
    states = States(service.database)
    with pytest.raises(NotFound), states.of(job, plan_of(service, job)):
        raise NotFound("what was looked for")
    with states.of(job, lambda: pytest.fail("it was kept")) as state:
        assert state.is_over


def test_a_log_that_cannot_be_read_is_read_again_from_the_start(finished, monkeypatch):
    service, job = finished
    states = States(service.database)
    events = service.database.events

    def breaks(name, after=0):
        for one in events(name, after):
            if one.seq == 10:
                raise ConnectionError
            yield one

    monkeypatch.setattr(service.database, "events", breaks)
    with pytest.raises(ConnectionError), states.of(job, plan_of(service, job)):
        pass
    monkeypatch.setattr(service.database, "events", events)
    with states.of(job, plan_of(service, job)) as state:
        assert json.dumps(result(state)) == json.dumps(result(service.state(job)))
