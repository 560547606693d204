from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from automata_svc.cli.live import LiveTable
from automata_svc.cli.watching import EVERY_S, Lines
from automata_svc.cli.world import World
from automata_svc.tuning.events import Event
from automata_svc.tuning.runners.simulated import HandClock
from automata_svc.tuning.state import JobState
from tests.cli.fake import JOB, FakeService
from tests.results.build import OneIsNaN


def lines_of(service: FakeService, clock: HandClock | None = None) -> list[str]:
    said: list[str] = []
    watch = Lines(said.append, clock or HandClock())
    service.drive(service.submit(JOB, "job.yaml"), watch)
    return said


def test_a_log_gets_a_line_where_a_rung_decides_and_not_for_every_report() -> None:
    said = lines_of(FakeService())
    assert [line for line in said if "rung 1" in line and "27 trials, 9 go on" in line]
    assert "confirmed: trial" in said[-1]
    assert len(said) < 10


def test_a_scheduler_that_never_closes_a_rung_still_gives_signs_of_life() -> None:
    clock = HandClock()
    said: list[str] = []
    lines = Lines(said.append, clock)

    def watch(state: JobState, events: Sequence[Event]) -> None:
        clock.now += EVERY_S / 10
        lines(state, events)

    service = FakeService(options={"scheduler": "asha"})
    service.drive(service.submit(JOB, "job.yaml"), watch)
    assert any("of 27 trials" in line and "price" in line for line in said)
    assert not any("go on, best" in line for line in said)


def test_who_looks_at_a_job_on_its_way_is_told_where_it_is() -> None:
    service = FakeService(interrupt_after=60)
    with pytest.raises(KeyboardInterrupt):
        service.drive(service.submit(JOB, "job.yaml"))
    said: list[str] = []
    Lines(said.append, HandClock())(service.state("job_0"), ())
    assert "started on" in said[0] and "of 27 trials" in said[1] and len(said) == 2


def test_a_job_that_waits_for_its_turn_has_not_started() -> None:
    service = FakeService()
    state = service.state(service.submit(JOB, "job.yaml"))
    said: list[str] = []
    Lines(said.append, HandClock())(state, ())
    assert said == []
    table = LiveTable(World(), "letter-mlp", Console(file=io.StringIO(), width=80))
    table(state, ())
    out = io.StringIO()
    Console(file=out, width=80).print(table._render())
    assert "QUEUED" in out.getvalue() and "0 of 27 trials" in out.getvalue()


def test_a_refused_value_or_lost_segment_costs_no_more_than_a_line() -> None:
    said = lines_of(FakeService(curves=OneIsNaN()))
    assert len(said) < 10


def frame(service: FakeService, width: int, at: int, plain: bool = False) -> str:
    """The live table after `at` batches of events, as text."""
    console = Console(file=io.StringIO(), width=width)
    table = LiveTable(World(), "letter-mlp", console)
    table._ascii = plain
    frames: list[str] = []

    def watch(state: JobState, events: Sequence[Event]) -> None:
        table._next = 0.0
        table(state, events)
        out = io.StringIO()
        Console(file=out, width=width).print(table._render())
        frames.append(out.getvalue())

    service.drive(service.submit(JOB, "job.yaml"), watch)
    return frames[min(at, len(frames) - 1)]


@pytest.mark.parametrize("width", (50, 80, 120))
def test_a_live_table_fits_its_terminal_at_every_moment(width: int) -> None:
    for at in (0, 20, 60, 10_000):
        shown = frame(FakeService(), width, at)
        assert max(map(len, shown.splitlines())) <= width
        assert "rung 1" in shown and "price" in shown


def test_a_live_table_shows_rungs_the_best_and_the_last_decisions() -> None:
    shown = frame(FakeService(), 100, 10_000)
    assert "SUCCEEDED" in shown and "27 of 27 trials" in shown
    assert "best  val_accuracy" in shown and "confirmed: trial" in shown


def test_a_live_table_without_unicode_is_ascii() -> None:
    drawn = frame(FakeService(), 80, 60, plain=True)
    assert drawn.isascii() and "val_accuracy" in drawn


def test_colour_and_control_codes_depend_on_the_terminal_and_on_no_color() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert not World(env={"TERM": "xterm"}).has_colour(io.StringIO())
    assert World(env={"TERM": "xterm"}).has_colour(Terminal())
    assert not World(env={"TERM": "xterm", "NO_COLOR": "1"}).has_colour(Terminal())
    assert World(env={"TERM": "xterm", "NO_COLOR": "1"}).is_live(Terminal())
    assert not World(env={"TERM": "dumb"}).is_live(Terminal())
