"""Bundles: templates, datasets and code that were pushed, named by what is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from automata_svc.errors import Problem, SpecError, unknown

Kind = Literal["template", "dataset", "code"]
FOLDER = "bundles"  # of the store
KINDS: tuple[Kind, ...] = get_args(Kind)

MB = 2**20
# Bytes of one bundle, as it is sent. A template's text lies in the database with each of its jobs.
MAX_BYTES: Mapping[Kind, int] = MappingProxyType(
    {"template": 1 * MB, "code": 50 * MB, "dataset": 4096 * MB}
)
CHUNK_BYTES = 8 * MB  # of an upload: half of what a server takes at once

DATASET_MANIFEST = "manifest.json"  # first file in the archive of a dataset
DATASET_FORMAT = 1  # of that file
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
SHA256 = r"^[0-9a-f]{64}$"
REF = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}@[0-9a-f]{64}$"

_NAME = re.compile(NAME, re.ASCII)
_SHA256 = re.compile(SHA256, re.ASCII)


@dataclass(frozen=True)
class BundleRef:
    """What a job says to mean one: `name@sha256`."""

    name: str
    sha256: str  # of the bundle's bytes, 64 hex digits

    def __str__(self) -> str:
        return f"{self.name}@{self.sha256}"

    @property
    def short(self) -> str:
        """For people."""
        return f"{self.name}@{self.sha256[:12]}"


def bundle_key(sha256: str) -> str:
    """Where a bundle's bytes lie in a store."""
    return f"{FOLDER}/{sha256}"


def as_ref(text: str) -> BundleRef | None:
    """The reference that a text is; None where it is something else: a name, or a path."""
    name, at, sha256 = text.rpartition("@")
    if at and _NAME.fullmatch(name) and _SHA256.fullmatch(sha256):
        return BundleRef(name, sha256)
    return None


def looks_like_ref(text: str) -> bool:
    """Whether a text was meant as a reference: then what is wrong with it can be said."""
    return "@" in text and "/" not in text


def check_ref(text: str, pointer: str = "") -> BundleRef:
    """The reference that a text is.

    Raises:
        SpecError: it is none.
    """
    ref = as_ref(text)
    if ref is None:
        said = f"'{text}' is not of the form name@sha256, with all of its 64 hex digits"
        raise SpecError(Problem(pointer, said))
    return ref


def check_bundle(kind: str, name: str, sha256: str, size: int) -> Kind:
    """The kind, if something of it may be pushed under that name.

    Args:
        size: bytes.

    Raises:
        SpecError: every mistake.
    """
    problems = []
    known = next((one for one in KINDS if one == kind), None)
    if known is None:
        problems.append(Problem("kind", unknown("kind", kind, KINDS)))
    if not _NAME.fullmatch(name):
        said = f"{name[:120]!r}: right is up to 100 letters, digits and . _ - (first no sign)"
        problems.append(Problem("name", said))
    if not _SHA256.fullmatch(sha256):
        problems.append(Problem("sha256", f"{sha256[:80]!r} is not 64 hex digits in small letters"))
    if known is not None and not 0 < size <= MAX_BYTES[known]:
        problems.append(Problem("size", size_said(known, size)))
    if known is None or problems:
        raise SpecError(problems)
    return known


def size_said(kind: Kind, size: int) -> str:
    """The sentence for a bundle that is too large, or empty."""
    if size <= 0:
        return f"{size} bytes: there is nothing in it"
    return f"{size:,} bytes; a {kind} has at most {MAX_BYTES[kind]:,}"


def name_from(text: str, kind: Kind) -> str:
    """A bundle's name made of a file's or folder's: what it may not hold becomes '-'.

    Raises:
        SpecError: nothing is left.
    """
    for ending in (".py", ".npz", ".csv.gz", ".csv", ".jsonl.gz", ".jsonl"):
        if text.lower().endswith(ending):
            text = text[: -len(ending)]
            break
    made = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]
    if not made:
        raise SpecError(f"{kind} '{text}': no name can be made of that; give one with --name")
    return made
