"""Where webhooks may go: the guard against our own walls, held to what is known to slip through."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.errors import SpecError
from automata_svc.jobs.addresses import AddressPolicy, Refused, Target, addresses_of, read_url

WORLD, EMBEDDED = AddressPolicy(), AddressPolicy(loopback=True)

INTERNAL = (
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.8",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # metadata of most clouds
    "168.63.129.16",  # Azure's, on an address that counts as the world's
    "100.100.100.200",  # Alibaba's
    "192.0.0.192",  # Oracle's
    "100.64.0.1",
    "224.0.0.1",
    "239.1.2.3",
    "255.255.255.255",
    "240.0.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "::1",
    "::",
    "fe80::1",
    "fec0::1",
    "fd00:ec2::254",  # AWS's, by IPv6
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:a9fe:a9fe::1",  # 6to4 of 169.254.169.254
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
)


@pytest.mark.parametrize("address", INTERNAL)
def test_an_internal_address_is_refused_in_a_url_and_behind_a_name(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Refused):
        read_url(f"http://{host}/hook", WORLD)
    target = read_url("http://hooks.example.com/hook", WORLD)
    with pytest.raises(Refused, match=r"hooks\.example\.com"):
        addresses_of(target, WORLD, lambda host, port: ["93.184.215.14", address])


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "LOCALHOST",
     "localhost.", "a.localhost", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[fe80::1%25eth0]"],
)  # fmt: skip
def test_another_spelling_of_an_internal_address_is_refused_when_it_is_submitted(host: str) -> None:
    with pytest.raises(Refused):
        read_url(f"http://{host}:8080/", WORLD)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("example.com/hook", "scheme"),
        ("//example.com/hook", "scheme"),
        ("https://user:secret@example.com/", "password"),
        ("https://user@example.com/", "password"),
        ("https://@example.com/", "password"),
        ("https://example.com@127.0.0.1/", "password"),
        ("https:///hook", "no host"),
        ("https://", "no host"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:99999/", "no URL"),
        ("https://example.com:x/", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://example.com/#x", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://example.com/a b", "spaces"),
        ("https://example.com/\r\nX-Evil: 1", "spaces"),
        ("https://exämple.com/", "%XX"),
        ("https://ex%61mple.com/", "no host name"),
        ("https://exa..mple.com/", "no host name"),
        ("https://-example.com/", "no host name"),
        ("https://example.com/" + 2_000 * "a", "characters"),
    ],
)
def test_a_url_that_is_none_of_ours_is_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read_url(url, WORLD)


def test_a_good_url_is_taken_apart() -> None:
    assert read_url("https://Hooks.Example.com/a/b?c=d", WORLD) == Target(
        "https", "hooks.example.com", 443, "/a/b?c=d"
    )
    assert read_url("http://93.184.215.14:8080", WORLD).authority == "93.184.215.14:8080"
    assert read_url("https://[2606:2800:21f:cb07::1]/", WORLD).authority == (
        "[2606:2800:21f:cb07::1]"
    )


def test_addresses_of_the_world_pass_and_come_back_once_each() -> None:
    found = ["93.184.215.14", "2606:2800:21f:cb07::1", "93.184.215.14"]
    target = read_url("https://hooks.example.com/", WORLD)
    assert addresses_of(target, WORLD, lambda host, port: found) == found[:2]


def test_embedded_mode_lets_this_machine_in_and_nothing_else() -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "127.1"):
        read_url(f"http://{host}:9000/hook", EMBEDDED)
    for address in INTERNAL:
        meant = ipaddress.ip_address(address)
        mapped = getattr(meant, "ipv4_mapped", None)
        if not (mapped or meant).is_loopback and "7f00:1" not in address:
            assert EMBEDDED.refusal(meant) is not None, address


def test_a_name_that_stands_for_nothing_is_no_refusal_but_a_failure() -> None:
    def nothing(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(OSError, match="no address"):
        addresses_of(read_url("http://gone.example.com/", WORLD), WORLD, nothing)


def test_an_operator_can_let_a_network_in() -> None:
    policy = AddressPolicy.from_env(
        {"AUTOMATA_WEBHOOK_NETWORKS": "10.20.0.0/16, fd12::/64"}, embedded=False
    )
    assert policy.refusal(ipaddress.ip_address("10.20.3.4")) is None
    assert policy.refusal(ipaddress.ip_address("::ffff:10.20.3.4")) is None
    assert policy.refusal(ipaddress.ip_address("fd12::9")) is None
    assert policy.refusal(ipaddress.ip_address("10.21.0.1")) is not None
    assert not policy.loopback
    with pytest.raises(SpecError, match="AUTOMATA_WEBHOOK_NETWORKS"):
        AddressPolicy.from_env({"AUTOMATA_WEBHOOK_NETWORKS": "10.20.0.1/16"}, embedded=False)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_every_wrapping(
    address: ipaddress.IPv4Address,
) -> None:
    plain = WORLD.refusal(address) is None
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | int(address))
    assert (WORLD.refusal(mapped) is None) == plain
    nat64 = ipaddress.IPv6Address(int(ipaddress.ip_address("64:ff9b::")) | int(address))
    if not plain:
        assert WORLD.refusal(nat64) is not None
        assert WORLD.refusal(ipaddress.IPv6Address(0x2002 << 112 | int(address) << 80)) is not None


@given(st.text(max_size=60))
def test_no_text_makes_the_guard_fail_in_another_way_than_refusing(text: str) -> None:
    for url in (text, f"http://{text}", f"http://example.com/{text}"):
        try:
            target = read_url(url, WORLD)
        except Refused:
            continue
        assert target.scheme in ("http", "https") and target.host and 0 < target.port < 65536
        assert not any(c.isspace() or c in "@\\#" for c in target.host)
