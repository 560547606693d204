"""Names for jobs that sort by the time they were made: job_<ULID>."""

from __future__ import annotations

import secrets

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_job_id(at: float) -> str:
    """An id for a job made at unix time `at`: 48 bits of milliseconds, then 80 random bits."""
    number = (int(at * 1000) & (2**48 - 1)) << 80 | secrets.randbits(80)
    return "job_" + "".join(_CROCKFORD[number >> 5 * place & 31] for place in range(25, -1, -1))
