"""What keeps something waiting is said when it begins, and not with each try."""

from __future__ import annotations

import logging

from automata_svc.jobs.saying import SaidOnce


def test_what_lasts_is_said_once_and_what_is_new_or_comes_back_again(caplog):
    said = SaidOnce(logging.getLogger("automata.test"), "waits: %s")
    with caplog.at_level("WARNING", "automata.test"):
        for error in ("refused", "starting up", "refused", "starting up"):
            said.waits(error)
        said.works()
        said.waits("refused")
    assert [one.getMessage() for one in caplog.records] == [
        "waits: refused", "waits: starting up", "waits: refused"
    ]  # fmt: skip
