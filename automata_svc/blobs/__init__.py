"""Bytes by content: artefacts, checkpoints and bundles, in a folder or in S3."""

from automata_svc.blobs.leases import held_if_free, single_flight
from automata_svc.blobs.schemes import PATIENCE_S, SCHEMES, open_store
from automata_svc.blobs.signed import Access, SignedBlobs, grant
from automata_svc.blobs.store import BlobStore, Entry

__all__ = [
    "PATIENCE_S",
    "SCHEMES",
    "Access",
    "BlobStore",
    "Entry",
    "SignedBlobs",
    "grant",
    "held_if_free",
    "open_store",
    "single_flight",
]
