"""Job ids: `job_` and a ULID, so that they sort by the time they were made."""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in lower case


def new_job_id(now: float | None = None) -> str:
    """48 bits of milliseconds and 80 random ones in 26 letters."""
    millis = int((time.time() if now is None else now) * 1000)
    number = (millis << 80) | secrets.randbits(80)
    letters = [ALPHABET[(number >> (5 * i)) & 31] for i in range(25, -1, -1)]
    return "job_" + "".join(letters)
