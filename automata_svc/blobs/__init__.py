"""Bytes by content: artefacts, checkpoints and bundles, in a folder or in S3."""

from automata_svc.blobs.leases import single_flight
from automata_svc.blobs.schemes import SCHEMES, open_store
from automata_svc.blobs.store import BlobStore

__all__ = ["SCHEMES", "BlobStore", "open_store", "single_flight"]
