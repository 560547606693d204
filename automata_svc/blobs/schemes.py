"""A URL becomes a store: the one table of where blobs can live."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit
from urllib.request import url2pathname

from automata_svc.blobs.credentials import aws_variables, secret_values
from automata_svc.blobs.store import BlobStore
from automata_svc.errors import Problem, SpecError, Unavailable, unknown

# Guess: an endpoint that answers 503 for a minute is waited for; whoever waits for us is not lost.
PATIENCE_S = 90.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0  # between tries: doubled, with jitter


def open_store(url: str, patience_s: float = PATIENCE_S) -> BlobStore:
    """The blob store at `url`; cheap (well under 1 ms once obstore is loaded), so no pooling.

    Args:
        url: `file:///folder` (created where it is missing) or `s3://bucket/prefix` (region,
            endpoint and keys come from the usual AWS_* variables, or from the file that
            AUTOMATA_STORE_CREDENTIALS_FILE names).
        patience_s: how long a request is tried again where the store is away or busy.

    Raises:
        SpecError: the scheme is in no row of SCHEMES, or the URL lacks what its scheme needs.
        Unavailable: the folder cannot be made.
    """
    scheme, colon, _ = url.partition(":")
    if "@" in urlsplit(url).netloc:
        raise SpecError(
            "the store URL holds credentials, and a URL is shown; give them in AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY",
            source="AUTOMATA_STORE_URL",
        )
    if not colon or scheme not in SCHEMES:
        raise SpecError(
            Problem("", f"store URL '{url}': {unknown('scheme', scheme, SCHEMES)}"),
            source="AUTOMATA_STORE_URL",
        )
    return SCHEMES[scheme](url, patience_s)


def _folder(url: str, patience_s: float) -> BlobStore:
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


def _s3(url: str, patience_s: float) -> BlobStore:
    from obstore.store import S3Store

    parts = urlsplit(url)
    if not parts.netloc:
        raise SpecError(
            f"store URL '{url}' names no bucket; right is s3://bucket/prefix",
            source="AUTOMATA_STORE_URL",
        )
    variables = aws_variables(os.environ)
    config = {name.lower(): value for name, value in variables.items()}
    plain = config.pop("aws_allow_http", "").lower() in ("1", "true", "yes")
    store = S3Store.from_url(
        url,
        config=config,  # type: ignore[arg-type]
        # obstore reads this of the environment alone; left out, that stands.
        client_options={"allow_http": True} if plain else None,
        retry_config={
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_PAUSE_S),
                "max_backoff": timedelta(seconds=LONGEST_PAUSE_S),
                "base": 2,
            },
            "max_retries": 1_000,  # time is what counts
            "retry_timeout": timedelta(seconds=patience_s),
        },
    )
    return BlobStore(url, store, hidden=secret_values(variables))


SCHEMES: Mapping[str, Callable[[str, float], BlobStore]] = MappingProxyType(
    {"file": _folder, "s3": _s3}
)
