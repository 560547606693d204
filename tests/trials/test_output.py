"""What a template prints."""

from __future__ import annotations

import sys

from automata_svc.trials.output import printed_to
from automata_svc.trials.types import Cost, Reply, Report


def silent(report: Report) -> Reply:
    return "stop"


def test_prints_go_to_the_file_and_nowhere_else(tmp_path, capsys):
    file = tmp_path / "logs" / "trial-3.txt"
    with printed_to(file, silent):
        print("loss is fine")
        print("oh", file=sys.stderr)
    print("after")
    assert file.read_text() == "loss is fine\noh\n"
    assert capsys.readouterr().out == "after\n"


def test_a_second_segment_writes_behind_the_first(tmp_path):
    for said in ("one", "two"):
        with printed_to(tmp_path / "trial-0.txt", silent):
            print(said)
    assert (tmp_path / "trial-0.txt").read_text() == "one\ntwo\n"


def test_a_silent_template_leaves_no_file(tmp_path):
    with printed_to(tmp_path / "logs" / "trial-0.txt", silent):
        pass
    assert not (tmp_path / "logs").exists()


def test_half_a_surrogate_pair_does_not_end_a_trial(tmp_path):
    with printed_to(tmp_path / "trial-0.txt", silent):
        print("\ud800")
    assert (tmp_path / "trial-0.txt").read_text() == "\\ud800\n"


def test_what_the_driver_prints_for_a_report_is_not_the_templates(tmp_path, capsys):
    def send(report: Report) -> Reply:
        print("rung 1 is full")
        return "continue"

    with printed_to(tmp_path / "trial-0.txt", send) as outside:
        print("before")
        assert outside(Report(0, 0, 1, (), None, None, Cost())) == "continue"
        print("after")
    assert (tmp_path / "trial-0.txt").read_text() == "before\nafter\n"
    assert capsys.readouterr().out == "rung 1 is full\n"
