"""A server that is away is waited for, but not for ever, and that is said once."""

from __future__ import annotations

import pytest

from automata_svc.client.away import LONGEST_PAUSE_S, Away
from automata_svc.errors import NotFound, Unavailable


class Server:
    """Does not answer for some times, then does."""

    def __init__(self, away: int) -> None:
        self.away = away

    def ask(self) -> str:
        self.away -= 1
        if self.away >= 0:
            raise Unavailable("the server http://x does not answer: refused. Is it up?")
        return "here"


def test_what_was_asked_is_asked_again_until_it_is_answered_and_said_once() -> None:
    said: list[str] = []
    slept: list[float] = []
    away = Away(said.append, sleep=slept.append)
    for _ in range(2):
        assert away.outlasted(Server(8).ask) == "here"
    once = ["the server http://x does not answer: refused; waiting for it", "the server is back"]
    assert said == 2 * once
    assert slept[:8] == slept[8:] == sorted(slept[:8])  # longer and longer, and short again
    assert max(slept) == LONGEST_PAUSE_S


def test_one_that_stays_away_is_given_up_with_what_it_said() -> None:
    away = Away(patience_s=-1.0, sleep=lambda seconds: None)
    with pytest.raises(Unavailable, match="does not answer"):
        away.outlasted(Server(2).ask)


def test_any_other_answer_is_one() -> None:
    def gone() -> None:
        raise NotFound("no such job")

    with pytest.raises(NotFound):
        Away(sleep=lambda seconds: None).outlasted(gone)
