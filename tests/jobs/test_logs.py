"""What is printed can be read page by page, in order, from anywhere, and costs nobody a wait."""

from __future__ import annotations

import pytest

from automata_svc.errors import Unavailable
from automata_svc.jobs import logs
from automata_svc.jobs.logs import LogLine, Logs, LogWriter

JOB = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def written(service, attempt: int = 1, **more) -> LogWriter:
    return LogWriter(service.store, JOB, attempt, **more)


def texts(page: logs.LogPage) -> list[str]:
    return [line.text for line in page.lines]


def test_lines_come_back_in_order_with_their_numbers_trial_by_trial(service):
    with written(service) as writer:
        writer.write(None, "driver one\ndriver two\n")
        writer.write(3, "trial\n")
        writer.write(None, "driver three\n")
    page = logs.read(service, JOB)
    assert page.lines == (
        LogLine(1, "driver one"), LogLine(2, "driver two"), LogLine(3, "driver three"),
    )  # fmt: skip
    assert page.next == 3
    assert texts(logs.read(service, JOB, trial=3)) == ["trial"]
    assert texts(logs.read(service, JOB, trial=4)) == []


def test_the_next_attempt_goes_on_behind_the_one_before(service):
    for attempt in (1, 2, 10):
        with written(service, attempt) as writer:
            writer.write(None, f"attempt {attempt}\n")
    assert texts(logs.read(service, JOB)) == ["attempt 1", "attempt 2", "attempt 10"]


def test_pages_follow_on_each_other_without_gap_or_repetition(service):
    for attempt in range(1, 5):
        with written(service, attempt) as writer:
            writer.write(None, "".join(f"{attempt}.{n}\n" for n in range(7)))
    reader, found, after = Logs(service.store, service.settings.home), [], 0
    while page := reader.read(JOB, after=after, limit=5):
        if not page.lines:
            break
        found += texts(page)
        after = page.next
    assert found == [f"{attempt}.{n}" for attempt in range(1, 5) for n in range(7)]
    assert after == 28
    assert reader.read(JOB, after=28).next == 28  # what comes later is found from there


def test_a_line_that_is_not_finished_waits_for_its_end(service):
    writer = written(service, flush_s=0.01)
    writer.write(0, "half")
    writer._flush(everything=False)
    assert texts(logs.read(service, JOB, trial=0)) == []
    writer.write(0, " a line\nand")
    writer._flush(everything=False)
    assert texts(logs.read(service, JOB, trial=0)) == ["half a line"]
    writer.close()
    assert texts(logs.read(service, JOB, trial=0)) == ["half a line", "and"]


def test_more_than_anybody_reads_is_counted_and_not_kept(service, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 100)
    with written(service) as writer:
        for _ in range(30):
            writer.write(0, "123456789\n")
    found = texts(logs.read(service, JOB, trial=0))
    assert found[:10] == ["123456789"] * 10
    assert found[-1] == "… 200 more characters were printed"


def test_a_store_that_is_away_for_a_while_costs_no_line(service):
    writer = written(service, flush_s=60)
    put, away = service.store.put, [True]

    class Store:
        def put(self, key, data):
            if away[0]:
                raise Unavailable("503")
            return put(key, data)

    writer._store = Store()
    writer.write(None, "first\n")
    writer._flush(everything=False)
    away[0] = False
    writer.write(None, "second\n")
    writer.close()
    assert texts(logs.read(service, JOB)) == ["first", "second"]


def test_files_of_a_command_lines_driver_are_read_too(service):
    file = service.settings.home / "logs" / JOB / "trial-2.txt"
    file.parent.mkdir(parents=True)
    file.write_text("from here\nand ha")
    assert texts(logs.read(service, JOB, trial=2)) == ["from here"]
    assert texts(logs.read(service, JOB, trial=2, is_over=True)) == ["from here", "and ha"]
    file.write_text("from here\nand half\n")
    assert texts(logs.read(service, JOB, trial=2, after=1)) == ["and half"]


@pytest.mark.parametrize("text", ["\ud800 lone\n", "nul \0 byte\n", "naïve ∂\n"])
def test_whatever_is_printed_can_be_stored(service, text):
    with written(service) as writer:
        writer.write(0, text)
    assert len(logs.read(service, JOB, trial=0).lines) == 1
