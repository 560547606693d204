"""Page tokens: where a list goes on, sealed, and good for the very list they came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from automata_svc.errors import Problem, SpecError

MAX_TOKEN = 2_000  # characters


class Pages:
    """Seals and opens tokens. Every process of a service has the same key."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"automata page token\0" + key).digest()

    def seal(self, place: Sequence[Any], of: Mapping[str, Any]) -> str:
        """The token for what follows `place` in the list that `of` describes."""
        body = json.dumps(list(place), ensure_ascii=False, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._tag(body, of) + body).decode().rstrip("=")

    def open(self, token: str, of: Mapping[str, Any]) -> tuple[Any, ...]:
        """The place that a token stands for.

        Raises:
            SpecError: it is none of ours, or of another list.
        """
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        tag, body = raw[:16], raw[16:]
        if not body or not hmac.compare_digest(tag, self._tag(body, of)):
            said = (
                "is not the next_page_token of this list; give one as it came, with the same "
                "filters and order, or none for the first page"
            )
            raise SpecError(Problem("query.page_token", said))
        return tuple(json.loads(body))

    def _tag(self, body: bytes, of: Mapping[str, Any]) -> bytes:
        about = json.dumps(of, sort_keys=True, default=str).encode()
        return hmac.digest(self._key, about + b"\0" + body, "sha256")[:16]
