"""What a driver does when its database is away for a moment, or for good."""

from __future__ import annotations

import pytest

from automata_svc.errors import LeaseLost, Unavailable
from automata_svc.jobs.drive import patiently


class Away:
    """A database that refuses so often before it takes an append."""

    def __init__(self, refusals: int, error: type[Exception] = Unavailable) -> None:
        self.left, self.error, self.calls = refusals, error, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error("database is locked")
        return 7


def test_an_append_is_tried_again_until_it_is_stored():
    database = Away(refusals=2)
    assert patiently(database, patience_s=5.0) == 7
    assert database.calls == 3


def test_a_database_that_stays_away_ends_the_driver_with_its_words():
    database = Away(refusals=1000)
    with pytest.raises(Unavailable, match="locked"):
        patiently(database, patience_s=0.3)
    assert database.calls > 1


def test_a_lost_lease_is_never_tried_again():
    database = Away(refusals=1, error=LeaseLost)
    with pytest.raises(LeaseLost):
        patiently(database, patience_s=5.0)
    assert database.calls == 1
