"""A few objects of a store, by URLs that end by themselves: what a worker gets of one.

Whoever has such a URL can read, or write, the one object that it names, and that for a while; the
store's credentials stay where the URLs were made.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from automata_svc.blobs.schemes import FIRST_PAUSE_S, LONGEST_PAUSE_S, PATIENCE_S
from automata_svc.blobs.store import BlobStore
from automata_svc.errors import NotFound, Unavailable

TIMEOUT_S = 60.0  # guess: of one read or write of the connection
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Access:
    """Which objects may be read and written, each with its URL. Not for anybody's eyes."""

    read: Mapping[str, str] = field(default_factory=dict, repr=False)
    write: Mapping[str, str] = field(default_factory=dict, repr=False)


def grant(
    store: BlobStore, read: tuple[str, ...], write: tuple[str, ...], for_s: float
) -> Access | None:
    """Access to exactly these objects; None: this store needs no such thing."""
    if not store.signs:
        return None
    return Access(
        dict(zip(read, store.sign("GET", read, for_s), strict=True)),
        dict(zip(write, store.sign("PUT", write, for_s), strict=True)),
    )


class SignedBlobs:
    """Reads and writes what an `Access` names, as a `BlobStore` would."""

    def __init__(self, access: Access, patience_s: float = PATIENCE_S) -> None:
        self._access, self._patience_s = access, patience_s

    def put(self, key: str, data: bytes) -> bool:
        """Stores `data` under `key`.

        Raises:
            Unavailable: the store takes it not now, or not from us (any more).
        """
        self._ask("PUT", key, self._access.write, data)
        return True

    def get(self, key: str) -> bytes:
        """The bytes under `key`.

        Raises:
            NotFound: there is no such object.
            Unavailable: as `put`.
        """
        return self._ask("GET", key, self._access.read, None)

    def _ask(self, method: str, key: str, urls: Mapping[str, str], data: bytes | None) -> bytes:
        verb = "read" if method == "GET" else "store"
        if key not in urls:
            raise Unavailable(f"cannot {verb} blob '{key}': this order gives no access to it")
        deadline, pause = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            said = self._try(method, urls[key], data)
            if isinstance(said, bytes):
                return said
            if said == 404:
                raise NotFound(f"cannot {verb} blob '{key}': nothing of that name is stored")
            is_over = time.monotonic() + pause > deadline
            if is_over or (isinstance(said, int) and said not in BUSY):
                raise Unavailable(f"cannot {verb} blob '{key}': {_in_words(said)}")
            time.sleep(pause * random.uniform(0.5, 1.0))  # many workers must not come back at once
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _try(self, method: str, url: str, data: bytes | None) -> bytes | int | str:
        """What came, the status of a refusal, or how the connection failed; never the URL."""
        import urllib.error
        import urllib.request
        from http.client import HTTPException

        request = urllib.request.Request(url, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/octet-stream")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as refused:
            refused.close()
            return int(refused.code)
        except urllib.error.URLError as error:
            return str(error.reason)
        except (OSError, HTTPException) as error:
            return str(error) or type(error).__name__


def _in_words(said: int | str) -> str:
    if said in (400, 401, 403):
        return (
            f"the store refused it ({said}): the access that came with the order is over, or the "
            "credentials that it was made with are not good any more"
        )
    if isinstance(said, int):
        return f"the store answered {said}"
    return said
