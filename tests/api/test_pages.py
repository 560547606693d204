"""Page tokens: good for one list, and for nobody who makes them up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.api.pages import Pages
from automata_svc.errors import SpecError

PAGES = Pages(b"key")
places = st.lists(st.floats(allow_nan=False) | st.text() | st.integers() | st.none(), max_size=4)


@given(places)
def test_a_place_comes_back_as_it_was(place):
    of = {"list": "jobs", "project": None}
    assert PAGES.open(PAGES.seal(place, of), of) == tuple(place)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{20,200}", fullmatch=True))
def test_a_token_that_was_made_up_is_refused(text):
    with pytest.raises(SpecError):
        PAGES.open(text, {})


def test_a_token_of_another_list_or_another_service_is_refused():
    token = PAGES.seal([1.0, "job_a"], {"list": "jobs"})
    for pages, of in ((PAGES, {"list": "trials"}), (Pages(b"other"), {"list": "jobs"})):
        with pytest.raises(SpecError):
            pages.open(token, of)
