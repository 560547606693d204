"""How a webhook is signed, and how whoever gets one checks it. Needs nothing but Python's own.

Automata-Delivery: dlv_…        the same when a delivery is tried again: drop what you have seen
Automata-Event: job.succeeded
Automata-Timestamp: 1767225600  unix seconds of this attempt
Automata-Signature: v1=<hex>    HMAC-SHA256 over "<timestamp>.<body>", keyed with the secret
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping

from automata_svc.errors import Denied

DELIVERY, EVENT = "Automata-Delivery", "Automata-Event"
TIMESTAMP, SIGNATURE = "Automata-Timestamp", "Automata-Signature"
VERSION = "v1"
TOLERANCE_S = 300.0  # as other senders of webhooks recommend: an old one is somebody's replay


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The signature of a body sent at `timestamp` (unix seconds)."""
    signed = b"%d." % timestamp + body
    return f"{VERSION}={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float | None = None,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Checks a webhook that came in; returns the id of its delivery.

    Args:
        secret: the text in the service's secret file; without the line's end.
        headers: of the request, in any case of letters.
        body: exactly as it came, before any decoding.
        now: unix seconds; None: this machine's clock.
        tolerance_s: how old it may be, or how far ahead its sender's clock.

    Raises:
        Denied: it is not signed with this secret, was changed on its way, or is too old.
    """
    found = {name.lower(): value for name, value in headers.items()}
    said = found.get(TIMESTAMP.lower(), "")
    given = found.get(SIGNATURE.lower(), "")
    if not (said.isascii() and said.isdigit() and len(said) < 16):
        raise Denied(f"the header {TIMESTAMP} is missing or holds no unix seconds")
    expected = sign(secret, int(said), body)
    # Several may stand there, separated by commas, while a secret is replaced; all are compared.
    each = [one.strip().encode() for one in given.split(",")]
    fitting = [hmac.compare_digest(one, expected.encode()) for one in each]
    if not any(fitting):
        raise Denied(f"the header {SIGNATURE} does not fit this body and this secret")
    age_s = (time.time() if now is None else now) - int(said)
    if abs(age_s) > tolerance_s:
        raise Denied(
            f"it was signed {age_s:.0f} s ago, and {tolerance_s:.0f} s are allowed: "
            "somebody sends an old one again, or a clock is wrong"
        )
    return found.get(DELIVERY.lower(), "")
