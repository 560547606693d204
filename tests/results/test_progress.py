from __future__ import annotations

import pytest

from automata_svc.results.expected import expected_price
from automata_svc.results.progress import Progress, progress, seconds_left
from automata_svc.results.standing import driver_seconds
from automata_svc.tuning.inputs import Asked, DriverStart, SubsetBuilt
from automata_svc.tuning.memory_log import MemoryLog
from automata_svc.tuning.runners.simulated import HandClock, Simulated
from automata_svc.tuning.state import JobState
from tests.results.build import finished
from tests.tuning.build import VERSIONS, PlantedCurves, make_plan, start


def test_the_expected_price_of_synchronous_rungs_is_what_they_cost() -> None:
    state = finished()
    assert expected_price(state.plan) == pytest.approx(state.price)


def test_an_expected_price_never_passes_the_limit() -> None:
    assert expected_price(make_plan(price_limit=0.5)) == 0.5


def test_a_picture_counts_every_trial_once_and_knows_the_winner() -> None:
    picture = progress(finished())
    assert sum(picture.trials.values()) == picture.proposed == picture.planned == 27
    assert [rung.arrived for rung in picture.rungs] == [27, 9, 4]
    assert picture.best is not None and picture.best[2] > 0.5
    assert picture.running == 0 and picture.done == pytest.approx(1.0)


def test_a_picture_of_a_new_job_is_empty() -> None:
    picture = progress(JobState(make_plan()))
    assert picture.best is None and picture.price == 0 and picture.state == "QUEUED"
    assert seconds_left(picture, 30.0) is None


def test_time_left_follows_from_the_price_since_this_driver_began() -> None:
    picture = progress(finished())
    half = Progress(**{**vars(picture), "price": 1.5, "expected": 2.5})
    assert seconds_left(half, 30.0) == pytest.approx(20.0)
    assert seconds_left(half, 30.0, price_before=1.0) == pytest.approx(60.0)


def test_the_hours_between_a_pause_and_its_resume_are_not_driver_time() -> None:
    clock = HandClock()
    engine = start(make_plan(), MemoryLog(), clock)
    curves = PlantedCurves()
    seen = 0

    def pause_at_third(order: object, share: float) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            engine.handle(Asked("pause"))

    curves.spoil = pause_at_third
    Simulated(curves, clock).run(engine)
    paused_at = clock.now
    clock.now += 10_000
    engine.handle(DriverStart(VERSIONS, "sha", 1, "simulated"), SubsetBuilt(None, False, 0.0))
    resumed_at = clock.now
    Simulated(PlantedCurves(), clock).run(engine)
    found = driver_seconds(engine.state)
    assert found is not None
    assert found <= (clock.now - resumed_at) + paused_at
    assert found >= clock.now - resumed_at
