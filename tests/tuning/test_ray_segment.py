"""A segment in a thread: reports and answers cross, and only what hangs is taken for hung."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from automata_svc.errors import Damaged
from automata_svc.trials.types import (
    Cost,
    PassTable,
    Reply,
    Report,
    SegmentOrder,
    StrategyOrder,
)
from automata_svc.tuning.inputs import SegmentFailed
from automata_svc.tuning.runners.ray_segment import Alive, Ended, Said, SegmentThread

Send = Callable[[Report], Reply]

ORDER = SegmentOrder(
    job="job_test", trial=2, segment=1, phase="search", params={}, seed=0,
    table=PassTable(1000, 100, 1), from_boundary=0, to_boundary=3, checkpoint=None,
    values_at={}, checkpoints_at=(1, 2, 3), strategy=StrategyOrder("full"), finish=0.2,
)  # fmt: skip


def report(boundary: int, done: bool = False) -> Report:
    return Report(2, 1, boundary, (), None, None, Cost(), done=done)


def segment(program: Callable[[Send], None], silent_s: float = 60.0) -> SegmentThread:
    return SegmentThread(ORDER, program, silent_s)


def heard(thread: SegmentThread) -> Said:
    """What it says next, besides that it is alive."""
    while isinstance(said := thread.next(), Alive):
        pass
    return said


def test_each_report_waits_for_its_answer_and_the_last_for_none() -> None:
    answers: list[Reply] = []

    def program(send: Send) -> None:
        answers.extend(send(report(boundary, done=boundary == 3)) for boundary in (1, 2, 3))

    thread = segment(program)
    for boundary in (1, 2, 3):
        said = heard(thread)
        assert isinstance(said, Report)
        assert said.boundary == boundary
        assert boundary == 3 or len(answers) == boundary - 1
    assert heard(thread) == Ended()
    assert answers == ["continue", "continue", "stop"]


def test_a_thread_that_is_told_to_stop_gets_that_answer_to_whatever_it_sends() -> None:
    answers: list[Reply] = []

    def program(send: Send) -> None:
        answers.append(send(report(1)))
        answers.append(send(report(2)))

    thread = segment(program)
    assert heard(thread) == report(1)
    assert thread.stop()
    assert answers == ["stop", "stop"]


def test_a_thread_that_does_not_leave_is_found_out() -> None:
    release = threading.Event()
    thread = segment(lambda send: bool(release.wait(30)) and None)
    assert not thread.stop(within_s=0.05)
    release.set()
    assert thread.stop()


def test_an_error_is_said_with_its_own_traceback_and_is_not_worth_a_retry() -> None:
    def program(send: Send) -> None:
        raise SystemExit("enough of this")

    said = heard(segment(program))
    assert isinstance(said, SegmentFailed)
    assert (said.trial, said.segment, said.reason, said.retry) == (2, 1, "error", False)
    assert "in program" in said.detail
    assert said.detail.endswith("SystemExit: enough of this")


def test_a_checkpoint_that_cannot_be_used_is_named_as_such() -> None:
    def program(send: Send) -> None:
        raise Damaged("checkpoints/…: its text is not the one with sha256 …")

    said = heard(segment(program))
    assert isinstance(said, SegmentFailed)
    assert said.reason == "checkpoint"


def test_a_thread_that_waits_is_silent_after_its_time_and_says_where_it_stands() -> None:
    release = threading.Event()

    def wait_for_what_never_comes(send: Send) -> None:
        release.wait(30)

    said = heard(segment(wait_for_what_never_comes, silent_s=0.3))
    release.set()
    assert isinstance(said, SegmentFailed)
    assert (said.reason, said.retry) == ("silent", True)
    assert "in wait_for_what_never_comes" in said.detail


def test_a_thread_that_waits_in_a_loop_is_silent_too() -> None:
    release = threading.Event()

    def look_again_and_again(send: Send) -> None:
        while not release.is_set():
            time.sleep(0.05)

    said = heard(segment(look_again_and_again, silent_s=0.5))
    release.set()
    assert isinstance(said, SegmentFailed)
    assert said.reason == "silent"


def test_a_thread_that_computes_is_never_silent_however_long_it_reports_nothing() -> None:
    release = threading.Event()

    def compute(send: Send) -> None:
        while not release.is_set():
            sum(range(10_000))
        send(report(3, done=True))

    thread = segment(compute, silent_s=0.3)
    assert [thread.next() for _ in range(4)] == [Alive()] * 4  # 0.6 s, twice its time
    release.set()
    assert heard(thread) == report(3, done=True)
