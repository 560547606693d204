"""A URL becomes a store: the one table of where blobs can live."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit
from urllib.request import url2pathname

from automata_svc.blobs.store import BlobStore
from automata_svc.errors import Problem, SpecError, Unavailable, unknown


def open_store(url: str) -> BlobStore:
    """The blob store at `url`; cheap (well under 1 ms once obstore is loaded), so no pooling.

    Args:
        url: `file:///folder` (created where it is missing) or `s3://bucket/prefix` (region,
            endpoint and keys come from the usual AWS_* variables).

    Raises:
        SpecError: the scheme is in no row of SCHEMES, or the URL lacks what its scheme needs.
        Unavailable: the folder cannot be made.
    """
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in SCHEMES:
        raise SpecError(
            Problem("", f"store URL '{url}': {unknown('scheme', scheme, SCHEMES)}"),
            source="AUTOMATA_STORE_URL",
        )
    return SCHEMES[scheme](url)


def _folder(url: str) -> BlobStore:
    from obstore.store import LocalStore

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise SpecError(
            f"store URL '{url}': a folder is written with three slashes and from the root, "
            "as in file:///var/lib/automata/blobs",
            source="AUTOMATA_STORE_URL",
        )
    folder = Path(url2pathname(parts.path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"cannot make the blob folder {folder}: {reason}") from error
    return BlobStore(url, LocalStore(folder), settle=lambda key: _to_disk(folder, key))


def _to_disk(folder: Path, key: str) -> None:
    """Wait until an object outlives a power cut (measured: 0.3 ms beside the put's 0.1 ms)."""
    path = folder / key
    for place in (path, path.parent):
        try:
            handle = os.open(place, os.O_RDONLY)
        except FileNotFoundError:
            return  # deleted again in the meantime: nothing is left to keep
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _s3(url: str) -> BlobStore:
    from obstore.store import S3Store

    if not urlsplit(url).netloc:
        raise SpecError(
            f"store URL '{url}' names no bucket; right is s3://bucket/prefix",
            source="AUTOMATA_STORE_URL",
        )
    return BlobStore(url, S3Store.from_url(url))


SCHEMES: Mapping[str, Callable[[str], BlobStore]] = MappingProxyType({"file": _folder, "s3": _s3})
