"""One store of blobs, whatever stands behind it."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from automata_svc.errors import Damaged, NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PIECE = 2**20  # bytes of a stream that are handed on at a time, at least
# What every backend takes as it is: no '#' (a folder's half-written names end in one), no spaces.
_KEY = re.compile(r"[A-Za-z0-9._+=@-]+(?:/[A-Za-z0-9._+=@-]+)*")


class Entry(NamedTuple):
    """What a listing says of one object."""

    key: str
    size: int  # bytes
    modified: float  # unix seconds on the store's clock


class BlobStore:
    """Objects by key, a key being names with '/' between them.

    Duties, which tests/contracts/test_blobs.py holds every scheme to: an object is there whole or
    not at all, also while it is written, on a full disk and after a kill; `put` returns when it is
    durable; `if_absent` lets exactly one of many writers win; two processes see each other's
    objects at once. Safe to share between threads; another process opens its own from `url`.
    """

    def __init__(
        self,
        url: str,
        store: ObjectStore,
        settle: Callable[[str], None] | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        """
        Args:
            settle: waits until the object of a key is durable; None: a put is.
            hidden: the store's credentials, which nothing that is said may hold.
        """
        self.url = url
        self._store = store
        self._settle = settle
        self._hidden = tuple(sorted((text for text in hidden if text), key=len, reverse=True))

    def __repr__(self) -> str:
        return f"BlobStore({self.url!r})"

    def __reduce__(self) -> tuple[Callable[[str], BlobStore], tuple[str]]:
        from automata_svc.blobs.schemes import open_store

        return open_store, (self.url,)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Store `data` under `key`, replacing what was there; one request, so at most 5 GB on S3.

        Args:
            if_absent: leave what is there alone.

        Returns:
            Whether it was written: False only where `if_absent` found something.

        Raises:
            Unavailable: no space, no permission, no connection; nothing is left under `key`
                (or what was there before is unchanged).
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        _check(key)
        with self._said(f"store blob '{key}' ({len(data):,} bytes)"):
            try:
                obstore.put(
                    self._store,
                    key,
                    data,
                    mode="create" if if_absent else "overwrite",
                    use_multipart=False,
                )
            except AlreadyExistsError:
                return False
            if self._settle is not None:
                self._settle(key)
        return True

    def get(self, key: str) -> bytes:
        """The bytes under `key`.

        Raises:
            NotFound: there is no such object.
        """
        import obstore

        with self._said(f"read blob '{key}'"):
            return bytes(obstore.get(self._store, _check(key)).bytes())

    def put_stream(self, key: str, pieces: Iterable[bytes]) -> None:
        """Store what comes in pieces, of any number of bytes, holding few of them at a time.

        Raises:
            Unavailable: as `put`.
            Whatever `pieces` raises; nothing is stored then, and what was there stays.
        """
        import obstore

        _check(key)
        with self._said(f"store blob '{key}'"):
            with ThreadPoolExecutor(1) as other:
                obstore.put(self._store, key, _from(other, pieces), mode="overwrite")
            if self._settle is not None:
                self._settle(key)

    def stream(self, key: str) -> Iterator[bytes]:
        """The bytes under `key`, piece by piece.

        Raises:
            NotFound: there is no such object.
            Unavailable: also amid the pieces.
        """
        import obstore

        with self._said(f"read blob '{key}'"):
            for piece in obstore.get(self._store, _check(key)).stream(min_chunk_size=PIECE):
                yield bytes(piece)

    def sign(self, method: Literal["GET", "PUT"], keys: Sequence[str], for_s: float) -> list[str]:
        """URLs that let whoever has them read or write exactly these objects, for so many seconds.

        Raises:
            Unavailable: this store has none; `signs` says so before.
        """
        import obstore

        with self._said("sign URLs"):
            return list(
                obstore.sign(
                    self._store,  # type: ignore[arg-type]  # `signs` is asked before
                    method,
                    [_check(key) for key in keys],
                    timedelta(seconds=for_s),
                )
            )

    @property
    def signs(self) -> bool:
        """Whether `sign` works: it does for S3, where a folder's owner is the operating system."""
        from obstore.store import S3Store

        return isinstance(self._store, S3Store)

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def size(self, key: str) -> int:
        """Bytes of the object under `key`.

        Raises:
            NotFound: there is no such object.
        """
        import obstore

        with self._said(f"read blob '{key}'"):
            return int(obstore.head(self._store, _check(key))["size"])

    def delete(self, key: str) -> None:
        """Remove the object under `key`; nothing happens where there is none."""
        import obstore

        try:
            with self._said(f"delete blob '{key}'"):
                obstore.delete(self._store, _check(key))
        except NotFound:
            return

    def keys(self, prefix: str = "") -> list[str]:
        """All keys below the folder `prefix`, at any depth, sorted; "" is the whole store."""
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str = "") -> list[Entry]:
        """As `keys`, with the size and the age of each."""
        import obstore

        prefix = prefix.rstrip("/")
        if prefix:
            _check(prefix)
        with self._said(f"list blobs under '{prefix}'"):
            pages = obstore.list(self._store, prefix=prefix or None)
            return sorted(
                Entry(str(item["path"]), int(item["size"]), item["last_modified"].timestamp())
                for page in pages
                for item in page
            )

    def now(self) -> float:
        """Unix seconds on the store's own clock, as `entries` gives them: of a blob just put."""
        import obstore

        probe = "gc/clock"
        with self._said("read the store's clock"):
            self.put(probe, b"")
            found = obstore.head(self._store, probe)["last_modified"].timestamp()
        self.delete(probe)
        return float(found)

    def put_content(self, prefix: str, data: bytes) -> str:
        """Store `data` under `prefix/<its sha256>` and return that key.

        Writes also where the key exists: equal bytes do no harm, and damaged ones are healed.
        """
        key = f"{prefix.rstrip('/')}/{hashlib.sha256(data).hexdigest()}"
        self.put(key, data)
        return key

    def get_checked(self, key: str, sha256: str) -> bytes:
        """The bytes under `key`, which must have this SHA-256 (64 hex digits).

        Raises:
            NotFound: there is no such object.
            Damaged: they are other bytes than those that were stored.
        """
        data = self.get(key)
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise Damaged(
                f"blob '{key}' in {self.url} is damaged: its sha256 is {found[:12]}…, "
                f"stored was {sha256[:12]}… ({len(data):,} bytes)"
            )
        return data

    @contextmanager
    def _said(self, attempt: str) -> Iterator[None]:
        """Errors of the backend in our words."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"cannot {attempt}: nothing of that name in {self.url}") from error
        except (BaseError, OSError) as error:
            said = f"cannot {attempt} in {self.url}: {_reason(error)}"
            for text in self._hidden:
                said = said.replace(text, "…")
            # The cause says more, and perhaps too much: a server may send back what it was sent.
            raise Unavailable(said) from (None if self._hidden else error)


def _from(other: Executor, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, each asked for in another thread.

    obstore asks for them amid its own work, where pieces that come out of a store cannot be read:
    it refuses to be entered a second time by one thread.
    """
    source = iter(pieces)
    while (piece := other.submit(next, source, None).result()) is not None:
        yield piece


def _check(key: str) -> str:
    if not _KEY.fullmatch(key) or any(set(name) == {"."} for name in key.split("/")):
        raise ValueError(
            f"blob key {key!r}: right is names of letters, digits and ._+=@- with '/' between"
        )
    return key


def _reason(error: BaseException) -> str:
    text = str(error).split("\n")[0].strip()
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text:
        return "no space left; free some, or name another place in AUTOMATA_STORE_URL"
    return text or type(error).__name__
