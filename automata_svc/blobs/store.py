"""One store of blobs, whatever stands behind it."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from automata_svc.errors import Damaged, NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# What every backend takes as it is: no '#' (a folder's half-written names end in one), no spaces.
_KEY = re.compile(r"[A-Za-z0-9._+=@-]+(?:/[A-Za-z0-9._+=@-]+)*")


class BlobStore:
    """Objects by key, a key being names with '/' between them.

    Duties, which tests/contracts/test_blobs.py holds every scheme to: an object is there whole or
    not at all, also while it is written, on a full disk and after a kill; `put` returns when it is
    durable; `if_absent` lets exactly one of many writers win; two processes see each other's
    objects at once. Safe to share between threads; another process opens its own from `url`.
    """

    def __init__(
        self, url: str, store: ObjectStore, settle: Callable[[str], None] | None = None
    ) -> None:
        self.url = url
        self._store = store
        self._settle = settle

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
        import obstore

        prefix = prefix.rstrip("/")
        if prefix:
            _check(prefix)
        with self._said(f"list blobs under '{prefix}'"):
            pages = obstore.list(self._store, prefix=prefix or None)
            return sorted(str(item["path"]) for page in pages for item in page)

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
            raise Unavailable(f"cannot {attempt} in {self.url}: {_reason(error)}") from error


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
