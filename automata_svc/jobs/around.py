"""What a job's workers get besides its program and rows: surroundings, and a way to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from automata_svc.jobs.bundles import Code, cache_of
from automata_svc.settings import Settings
from automata_svc.spec.bundle import bundle_key
from automata_svc.trials.surroundings import Surroundings
from automata_svc.trials.types import SegmentOrder, checkpoint_key

if TYPE_CHECKING:
    from automata_svc.blobs import BlobStore

# Guess: far longer than a segment; one that is still at work then is tried again from its last
# checkpoint, with new URLs.
ACCESS_S = 86_400.0


def surroundings_of(
    trial: Mapping[str, Any], code: Code | None, settings: Settings
) -> Surroundings:
    """Of a stored job's trial section; packages (pip) are Ray's to install."""
    asked = trial.get("runtime_env") or {}
    folder = settings.secrets_dir
    return Surroundings(
        code=None if code is None else code.sha256,
        cache=str(cache_of(settings)),
        cache_bytes=settings.cache_bytes,
        env_vars=tuple(sorted((asked.get("env_vars") or {}).items())),
        secrets=tuple(asked.get("secrets") or ()),
        secrets_dir=None if folder is None else str(folder),
    )


def with_access(order: SegmentOrder, store: BlobStore, code: str | None) -> SegmentOrder:
    """The order with URLs for exactly what its segment reads and writes in a store like S3.

    A worker then needs, and has, no credentials of the store. Where the store is a folder, workers
    open it themselves.

    Args:
        code: sha256 of the job's code.
    """
    from automata_svc.blobs.signed import grant

    if not store.signs:
        return order
    due = sorted({*order.checkpoints_at, *order.values_at, order.to_boundary})
    write = tuple(
        checkpoint_key(order.job, order.trial, boundary, order.segment)
        for boundary in due
        if boundary > order.from_boundary
    )
    read = () if order.checkpoint is None else (order.checkpoint,)
    if code is not None:
        read = (*read, bundle_key(code))
    return replace(order, access=grant(store, read, write, ACCESS_S))
