"""Where a webhook may go: addresses of the world, and nothing behind our own walls.

Whoever may submit a job may name a URL, and the request comes from inside. So a URL is judged when
it is submitted (what can be told from its text) and again when it is used, by every address that
its name stands for at that moment; the connection is then made to the very address that was judged.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from automata_svc.errors import Problem, SpecError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]  # a host's addresses

MAX_URL = 2_000  # characters

# Metadata services that answer on an address which counts as one of the world's: Azure, Oracle.
_METADATA = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "192.0.0.192")))
# What carries an IPv4 address in its last 32 bits to a translator on its way (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_HOST = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*\.?")
_LOCAL_NAMES = ("localhost", "localhost.localdomain")


class Target(NamedTuple):
    """A URL taken apart, as a request needs it."""

    scheme: str  # http or https
    host: str  # ASCII, lower case, an IPv6 address without its brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


class Refused(Exception):
    """This URL, or this address, is not one that we send to; the message says why."""


@dataclass(frozen=True)
class AddressPolicy:
    """Which addresses may be sent to besides those of the world."""

    loopback: bool = False  # this machine: in embedded mode, where who submits sits at it anyway
    networks: tuple[Network, ...] = ()  # of an operator's own, as for a receiver in the cluster

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, embedded: bool) -> AddressPolicy:
        """AUTOMATA_WEBHOOK_NETWORKS: networks that may be reached, ',' between: 10.20.0.0/16.

        Raises:
            SpecError: one of them is no network.
        """
        env = os.environ if env is None else env
        found: list[Network] = []
        for text in (env.get("AUTOMATA_WEBHOOK_NETWORKS") or "").split(","):
            if text.strip():
                try:
                    found.append(ipaddress.ip_network(text.strip()))
                except ValueError as error:
                    raise SpecError(Problem("AUTOMATA_WEBHOOK_NETWORKS", str(error))) from None
        return cls(loopback=embedded, networks=tuple(found))

    def refusal(self, address: Address) -> str | None:
        """Why nothing is sent to this address; None: it may be."""
        for one in _meant_by(address):
            if any(one.version == net.version and one in net for net in self.networks):
                continue
            kind = _kind(one)
            if kind is None or (kind == "loopback" and self.loopback):
                continue
            return f"{address} is {_WORDS[kind]}; webhooks go to addresses of the internet"
        return None


def read_url(url: str, policy: AddressPolicy) -> Target:
    """Takes a webhook's URL apart and judges what its text says; asks no name server.

    Raises:
        Refused: it is not one that we send to.
    """
    if len(url) > MAX_URL:
        raise Refused(f"it has {len(url):,} characters; {MAX_URL:,} are allowed")
    # Everything that programs are known to read differently from each other.
    if re.search(r"[^\x21-\x7e]|[\\\"<>^`{|}]", url):
        raise Refused("it holds spaces, backslashes or characters that a URL writes as %XX")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused(f"it is no URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise Refused(f"its scheme is '{parts.scheme}'; right is https:// or http://")
    if "@" in parts.netloc:
        raise Refused("it holds a user or a password; sign-in belongs to the receiver's check")
    if parts.fragment or url.endswith("#"):
        raise Refused("it has a fragment ('#…'), which is never sent")
    host = (parts.hostname or "").lower()
    if not host:
        raise Refused("it names no host")
    if port == 0:
        raise Refused("port 0 is none")
    target = Target(
        parts.scheme,
        host,
        port or {"http": 80, "https": 443}[parts.scheme],
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )
    literal = _literal(host.removesuffix("."))
    if literal is not None:
        refusal = policy.refusal(literal)
        if refusal is not None:
            raise Refused(refusal)
    elif not _HOST.fullmatch(host) or len(host) > 253:
        raise Refused(f"'{host}' is no host name")
    elif host.rstrip(".") in _LOCAL_NAMES or host.rstrip(".").endswith(".localhost"):
        if not policy.loopback:
            raise Refused(f"'{host}' is this machine; webhooks go to addresses of the internet")
    return target


def addresses_of(
    target: Target, policy: AddressPolicy, resolve: Resolve | None = None
) -> list[str]:
    """The addresses that a host stands for now, every one of them judged.

    Raises:
        Refused: one of them is not sent to: a name that mixes them is nobody's mistake.
        OSError: the name stands for nothing now.
    """
    found = list(dict.fromkeys((resolve or look_up)(target.host, target.port)))
    if not found:
        raise OSError(f"'{target.host}' has no address")
    for text in found:
        refusal = policy.refusal(ipaddress.ip_address(text.partition("%")[0]))
        if refusal is not None:
            raise Refused(f"'{target.host}': {refusal}")
    return found


def look_up(host: str, port: int) -> list[str]:
    """The system's name look-up."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"'{host}' is no host name: {error}") from None
    return [str(one[4][0]) for one in found]


def _literal(host: str) -> Address | None:
    """The address that a host's text is, in any form that a C library takes for one."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))  # 2130706433, 0x7f.1, 0177.0.0.1
    except OSError:
        return None


def _meant_by(address: Address) -> list[Address]:
    """The address, and what is reached through it if it carries another."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]  # the same connection as to the IPv4 address
    carried: list[Address] = []
    if address.sixtofour is not None:
        carried.append(address.sixtofour)
    if address.teredo is not None:
        carried += address.teredo
    if address in _NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *carried]


def _kind(address: Address) -> str | None:
    """What keeps an address from being one of the world's; None: nothing."""
    if address.is_loopback:
        return "loopback"
    if address in _METADATA:
        return "metadata"
    if address.is_link_local:
        return "link_local"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified:
        return "unspecified"
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    if address.is_private or site_local:
        return "private"
    if address.is_reserved or not address.is_global:
        return "reserved"
    return None


_WORDS: Mapping[str, str] = {
    "loopback": "this machine",
    "metadata": "a cloud's metadata service",
    "link_local": "link-local, where clouds keep their metadata",
    "multicast": "a multicast group",
    "unspecified": "no address of anybody",
    "private": "of a private network",
    "reserved": "reserved",
}
