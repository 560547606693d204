from __future__ import annotations

from automata_svc.results.funnel import funnel
from automata_svc.results.result import rung_rows
from tests.results.build import finished


def test_bars_shrink_with_the_trials_and_the_longest_is_the_whole_job() -> None:
    lines = funnel(rung_rows(finished()), 27, confirmed=2, width=100)
    bars = [line.count("█") for line in lines]
    assert bars == sorted(bars, reverse=True) and bars[0] == 24 and bars[-1] >= 1
    assert "→ 9" in lines[0] and "27" in lines[0] and "confirmed" in lines[-1]


def test_a_narrow_terminal_keeps_the_numbers() -> None:
    lines = funnel(rung_rows(finished()), 27, confirmed=2, width=50)
    assert max(map(len, lines)) <= 50
    assert "27" in lines[0] and "→ 9" in lines[0]


def test_a_rung_nobody_reached_has_no_bar() -> None:
    rung = {"rung": 1, "share": 0.01, "arrived": 0, "went_on": 0, "best": None}
    assert "█" not in funnel([rung], 27)[0]
