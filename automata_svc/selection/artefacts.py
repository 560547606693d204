"""The model-free part of a strategy, computed once and shared: stored by what it was made from.

    subsets/<key>/manifest.json   what it was made from, and the digest of its arrays; written last
    subsets/<key>/<sha256>        the arrays, NPZ without pickles
    subsets/<key>/condemned       nobody uses it: it goes, unless somebody asks for it before

The key is over everything that decides the arrays, so that equal requests of any trial, job or
machine meet the same bytes, and nobody needs to be told when something changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from typing import Any, cast

import numpy as np

from automata_svc.blobs import BlobStore, held_if_free, single_flight
from automata_svc.blobs.leases import TTL_S
from automata_svc.datasets import Dataset
from automata_svc.errors import Conflict, Damaged, NotFound, SpecError, UnknownName
from automata_svc.selection import STRATEGIES
from automata_svc.selection.encoders import ENCODERS, default_encoder, encode
from automata_svc.selection.types import Arrays, Rows

FORMAT = 1  # of the manifest and the arrays' file; part of the key
FOLDER = "subsets"
CONDEMNED = "condemned"
LIBRARIES = ("numpy", "scikit-learn", "scipy")  # what may round differently: said, not keyed


@dataclass(frozen=True)
class Request:
    """Everything that decides an artefact's arrays."""

    strategy: str
    version: int  # the strategy's own
    dataset_digest: str
    encoder: str | None  # None: the strategy looks at labels only
    size: int  # k, rows of a subset
    options: Mapping[str, Any]  # all of the strategy's options, defaults included
    seed: int  # of the job
    owner: str = ""  # see `owner_of`; "": whoever asks for the same gets it

    @property
    def key(self) -> str:
        return artefact_key(
            self.strategy,
            self.version,
            self.dataset_digest,
            self.encoder,
            self.size,
            self.options,
            self.seed,
            self.owner,
        )


@dataclass(frozen=True)
class Manifest:
    """What is said about a stored artefact; JSON-able."""

    key: str
    request: Request
    sha256: str  # of the arrays' file, 64 hex digits
    bytes: int
    arrays: Mapping[str, str]  # name → "int32 [8, 1050]"
    dataset: str  # its name when this was built
    n: int  # N, training rows
    created: str  # UTC, ISO 8601
    seconds: float  # encoding and preparing
    forward_rows: int
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """An artefact in hand, and what it took."""

    arrays: Arrays  # read-only
    key: str
    hit: bool  # nothing was built for this call
    seconds: float  # of this call: building, or waiting and reading
    forward_rows: (
        int  # rows run forward for this call; 0 for a hit, and for encoders without a network
    )
    note: str = ""  # what a user should hear, e.g. that a damaged one was rebuilt


PROJECT = "project "  # in front of a project's name; no job's id begins so


def owner_of(scope: str, job: str, project: str) -> str:
    """Whose an artefact is: it goes into the key, so that nobody else ever reads it.

    Args:
        scope: "job", "project" or "shared", as a job's file says.
    """
    return {"job": job, "project": PROJECT + project, "shared": ""}[scope]


def artefact_key(
    strategy: str,
    version: int,
    dataset_digest: str,
    encoder: str | None,
    size: int,
    options: Mapping[str, Any],
    seed: int,
    owner: str = "",
) -> str:
    """64 hex digits: SHA-256 over the arguments, the encoder's version and the file format."""
    if encoder is not None and encoder not in ENCODERS:
        raise UnknownName("encoder", encoder, ENCODERS, pointer="encoder")
    parts = {
        "format": FORMAT,
        "strategy": strategy,
        "version": version,
        "dataset": dataset_digest,
        "encoder": None if encoder is None else [encoder, ENCODERS[encoder].version],
        "size": size,
        "options": dict(options),
        "seed": seed,
        **({"owner": owner} if owner else {}),
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def request_for(
    strategy: str,
    dataset: Dataset,
    *,
    encoder: str | None = None,
    size: int,
    options: Mapping[str, Any],
    seed: int,
    owner: str = "",
) -> Request:
    """The request for a strategy's artefact on a dataset.

    Args:
        strategy: a row of STRATEGIES.
        encoder: None: the default for the dataset's kind, if the strategy looks at embeddings.
        size: k, rows of a subset.
        options: those that differ from the strategy's defaults, or all.
        seed: of the job.
        owner: of `owner_of`; "": shared by all.

    Raises:
        UnknownName: no such strategy.
    """
    if strategy not in STRATEGIES:
        raise UnknownName("strategy", strategy, STRATEGIES, pointer="strategy")
    one = STRATEGIES[strategy]
    if "embeddings" not in one.needs:
        encoder = None
    elif encoder is None:
        encoder = default_encoder(dataset.shape.kind)
    return Request(
        strategy=strategy,
        version=one.version,
        dataset_digest=dataset.shape.digest,
        encoder=encoder,
        size=size,
        options={**one.options, **options},
        seed=seed,
        owner=owner,
    )


def load_or_build(
    store: BlobStore,
    request: Request,
    dataset: Dataset,
    *,
    ttl_s: float = TTL_S,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Built:
    """The artefact's arrays: read, or built once while others that ask for the same wait.

    Bytes are checked against their digest; damaged ones are built anew, and `note` says so.

    Args:
        ttl_s: seconds without a sign of life after which another builder counts as dead.
        wall, monotonic, sleep: clocks, for what is said of time, and between looks.

    Raises:
        Conflict: the request is for another dataset.
        SelectionError, SpecError: the strategy or the encoder cannot do it.
        AutomataError: the store cannot be read or written.
    """
    if request.dataset_digest != dataset.shape.digest:
        raise Conflict(
            f"artefact {request.key[:12]} is for the dataset {request.dataset_digest[:12]}, "
            f"'{dataset.shape.name}' is {dataset.shape.digest[:12]}"
        )
    started = monotonic()
    damage: list[str] = []
    reprieved = False

    def read() -> Arrays | None:
        # Looked at first: what is read before it was condemned is used, and said so, long before
        # it is taken away. What is condemned is read under the lease, as if it were to be built.
        if store.exists(_condemned_key(request.key)):
            return None
        try:
            return read_arrays(store, request.key)
        except NotFound:
            return None
        except Damaged as error:
            if str(error) not in damage:
                damage.append(str(error))
            return None

    def build() -> Arrays:
        nonlocal reprieved
        if store.exists(_condemned_key(request.key)):
            store.delete(_condemned_key(request.key))
            found = read()
            if found is not None:
                reprieved = True
                return found
        begun = monotonic()
        arrays = _prepare(request, dataset)
        _write(store, request, dataset, arrays, monotonic() - begun, wall)
        return arrays

    flight = single_flight(store, _folder(request.key), build, read, ttl_s=ttl_s, sleep=sleep)
    was_built = flight.built and not reprieved
    how = "built anew" if was_built else "built anew by another process"
    note = f"{damage[0]}; {how}" if damage else ""
    if flight.waited_s > 0 and not was_built and not reprieved and not damage:
        note = f"built by another process; waited {flight.waited_s:.1f} s"
    rows = ENCODERS[request.encoder].forward_rows * len(dataset.train) if request.encoder else 0
    return Built(
        arrays=_frozen(flight.value),
        key=request.key,
        hit=not was_built,
        seconds=monotonic() - started,
        forward_rows=rows if was_built else 0,
        note=note,
    )


def is_stored(store: BlobStore, key: str) -> bool:
    """Whether the artefact is there, as far as its manifest goes; its bytes are not looked at."""
    return store.exists(_manifest_key(key))


def read_arrays(store: BlobStore, key: str) -> Arrays:
    """The arrays of a stored artefact, read-only.

    Raises:
        NotFound: there is none.
        Damaged: its manifest or its arrays are not what was written.
    """
    manifest = _read_manifest(store, key)
    try:
        data = store.get_checked(_arrays_key(key, manifest.sha256), manifest.sha256)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return _frozen({name: archive[name] for name in archive.files})
    except NotFound as error:
        raise Damaged(f"artefact {key[:12]} has lost its arrays") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Damaged(f"artefact {key[:12]} holds no plain arrays: {error}") from error


def list_artefacts(store: BlobStore) -> list[Manifest]:
    """What is said about every artefact that can be read, newest first."""
    found = []
    for path in store.keys(FOLDER):
        folder, _, name = path.rpartition("/")
        if name == "manifest.json":
            try:
                found.append(_read_manifest(store, folder.rpartition("/")[2]))
            except (Damaged, NotFound):
                continue  # a damaged one is built anew when it is asked for; a deleted one is gone
    return sorted(found, key=lambda one: (one.created, one.key), reverse=True)


def show(store: BlobStore, key: str) -> Manifest:
    """What is said about one artefact.

    Args:
        key: its key, or enough of its beginning to be the only one.

    Raises:
        NotFound: no artefact's key begins so.
        SpecError: several do.
        Damaged: its manifest is not what was written.
    """
    keys = {path.split("/")[1] for path in store.keys(FOLDER) if path.endswith("/manifest.json")}
    fitting = sorted(one for one in keys if key and one.startswith(key))
    if not fitting:
        raise NotFound(f"no artefact '{key}' in {store.url}; `automata subsets ls` lists them")
    if len(fitting) > 1:
        raise SpecError(f"artefact '{key}' can be any of: {', '.join(one[:16] for one in fitting)}")
    return _read_manifest(store, fitting[0])


def condemn(store: BlobStore, key: str) -> None:
    """Says that nobody uses an artefact; whoever asks for it from here on takes that back."""
    store.put(_condemned_key(key), b"")


def reprieve(store: BlobStore, key: str) -> None:
    """Takes it back."""
    store.delete(_condemned_key(key))


def remove(store: BlobStore, key: str, is_used: Callable[[], bool], min_age_s: float) -> bool:
    """Takes an artefact away that was condemned long enough ago; False: it stays.

    Nobody can build it meanwhile, or begin to use it: what is condemned is read under the lease
    that is held here. A kill in between leaves it condemned and without its manifest: unreadable,
    and removable.

    Args:
        is_used: asked once more, under the lease.
        min_age_s: seconds since it was condemned, on the store's clock. Whoever read it just
            before must have had the time to say so.
    """
    with held_if_free(store, _folder(key)) as is_held:
        if is_held is None:
            return False
        found = {entry.key: entry.modified for entry in store.entries(_folder(key))}
        # Not as the caller saw it: it may have been taken back and condemned again since.
        condemned_at = found.pop(_condemned_key(key), None)
        if condemned_at is None or store.now() - condemned_at < min_age_s:
            return False
        if is_used():
            reprieve(store, key)
            return False
        # The manifest first, so that it never names arrays that are gone; the mark last.
        for one in sorted(found, key=lambda one: one != _manifest_key(key)):
            if not is_held():
                return False
            store.delete(one)
        reprieve(store, key)
    return True


def _prepare(request: Request, dataset: Dataset) -> Arrays:
    vectors = encode(request.encoder, dataset, request.seed) if request.encoder else None
    rows = Rows(dataset.train.y, dataset.shape.n_classes, vectors)
    prepared = STRATEGIES[request.strategy].prepare(
        rows, request.size, request.seed, request.options
    )
    return {name: np.asarray(array) for name, array in prepared.items()}


def _write(
    store: BlobStore,
    request: Request,
    dataset: Dataset,
    arrays: Arrays,
    seconds: float,
    wall: Callable[[], float],
) -> None:
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"strategy '{request.strategy}': array '{name}' holds Python objects")
    stream = io.BytesIO()
    np.savez(stream, **cast(dict[str, Any], dict(arrays)))
    data = stream.getvalue()
    folder = _folder(request.key)
    blob = store.put_content(folder, data)
    forward = ENCODERS[request.encoder].forward_rows if request.encoder else 0
    manifest = Manifest(
        key=request.key,
        request=request,
        sha256=blob.rpartition("/")[2],
        bytes=len(data),
        arrays={name: f"{array.dtype} {list(array.shape)}" for name, array in arrays.items()},
        dataset=dataset.shape.name,
        n=len(dataset.train),
        created=datetime.fromtimestamp(wall(), UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 6),
        forward_rows=forward * len(dataset.train),
        libraries={
            "python": platform.python_version(),
            **{name: version_of(name) for name in LIBRARIES},
        },
    )
    # Last, so that a manifest never names arrays that are not there.
    store.put(_manifest_key(request.key), json.dumps(asdict(manifest), indent=1).encode())
    for old in store.keys(folder):
        if old not in (blob, _manifest_key(request.key)):
            store.delete(old)


def _read_manifest(store: BlobStore, key: str) -> Manifest:
    raw = store.get(_manifest_key(key))
    try:
        body = json.loads(raw)
        manifest = Manifest(**{**body, "request": Request(**body["request"])})
        written_for = manifest.request.key
    except (ValueError, TypeError, KeyError, UnknownName) as error:
        raise Damaged(f"the manifest of artefact {key[:12]} cannot be read") from error
    if not key == manifest.key == written_for or len(manifest.sha256) != 64:
        raise Damaged(f"the manifest of artefact {key[:12]} is that of another request")
    return manifest


def _folder(key: str) -> str:
    return f"{FOLDER}/{key}"


def _condemned_key(key: str) -> str:
    return f"{FOLDER}/{key}/{CONDEMNED}"


def _manifest_key(key: str) -> str:
    return f"{FOLDER}/{key}/manifest.json"


def _arrays_key(key: str, sha256: str) -> str:
    return f"{FOLDER}/{key}/{sha256}"


def _frozen(arrays: Arrays) -> Arrays:
    """The same arrays, read-only: trials on a node share them."""
    for array in arrays.values():
        array.setflags(write=False)
    return arrays
