"""Webhook signatures: what is signed is accepted, and nothing else."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.errors import Denied
from automata_svc.jobs.signatures import sign, verify

SECRET, AT, BODY = "whsec_0123456789abcdef", 1_767_225_600, b'{"event":"job.succeeded"}'


def headers(signature: str, at: int = AT) -> dict[str, str]:
    return {
        "Automata-Delivery": "dlv_1",
        "Automata-Timestamp": str(at),
        "Automata-Signature": signature,
    }


def test_a_receiver_can_check_it_with_nothing_but_hmac() -> None:
    expected = hmac.new(SECRET.encode(), f"{AT}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert sign(SECRET, AT, BODY) == f"v1={expected}"


def test_what_was_signed_is_accepted_and_names_its_delivery() -> None:
    assert verify(SECRET, headers(sign(SECRET, AT, BODY)), BODY, now=AT + 5) == "dlv_1"


def test_header_names_may_come_in_any_case() -> None:
    found = {name.lower(): value for name, value in headers(sign(SECRET, AT, BODY)).items()}
    assert verify(SECRET, found, BODY, now=AT) == "dlv_1"


def test_while_a_secret_is_replaced_one_of_two_signatures_is_enough() -> None:
    both = f"{sign('another secret, older', AT, BODY)}, {sign(SECRET, AT, BODY)}"
    verify(SECRET, headers(both), BODY, now=AT)
    neither = f"{sign('another secret, older', AT, BODY)}, {sign('and a third', AT, BODY)}"
    with pytest.raises(Denied, match="does not fit"):
        verify(SECRET, headers(neither), BODY, now=AT)


def test_an_old_one_and_one_of_the_future_are_refused() -> None:
    signature = sign(SECRET, AT, BODY)
    for now in (AT + 301, AT - 301):
        with pytest.raises(Denied, match="300 s are allowed"):
            verify(SECRET, headers(signature), BODY, now=now)


def test_a_newer_timestamp_does_not_fit_the_old_signature() -> None:
    with pytest.raises(Denied, match="does not fit"):
        verify(SECRET, headers(sign(SECRET, AT, BODY), AT + 3600), BODY, now=AT + 3600)


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1e9", "١٢٣", "9" * 40])
def test_a_timestamp_that_is_none_is_refused(stamp: str) -> None:
    found = {**headers(sign(SECRET, AT, BODY)), "Automata-Timestamp": stamp}
    with pytest.raises(Denied, match="Timestamp"):
        verify(SECRET, found, BODY, now=AT)


def test_without_any_header_it_is_refused() -> None:
    with pytest.raises(Denied):
        verify(SECRET, {}, BODY, now=AT)


@given(
    st.text(min_size=1, max_size=30), st.binary(max_size=50), st.integers(0, 2**33), st.integers(0)
)
def test_one_changed_bit_anywhere_in_the_body_is_noticed(
    secret: str, body: bytes, at: int, place: int
) -> None:
    signature = sign(secret, at, body)
    verify(secret, headers(signature, at), body, now=at)
    if body:
        changed = bytearray(body)
        changed[place % len(body)] ^= 1 << place % 8
        with pytest.raises(Denied):
            verify(secret, headers(signature, at), bytes(changed), now=at)
    with pytest.raises(Denied):
        verify(secret + "x", headers(signature, at), body, now=at)


@given(st.text(max_size=100))
def test_no_text_passes_for_a_signature(text: str) -> None:
    with pytest.raises(Denied):
        verify(SECRET, headers(text), BODY, now=AT)
