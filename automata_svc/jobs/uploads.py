"""Pushes: bytes come in chunks, may stop and go on, and count only when they are what was said.

    uploads/<id>/<offset>-<random>    a chunk that has arrived; the row knows which of them count

An upload's id is made of what is pushed and where to, so that the same push begun again, by another
process or after a day, goes on where the first one stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from automata_svc.blobs import held_if_free
from automata_svc.datasets.bundled import check_dataset
from automata_svc.errors import Conflict, NotFound, Problem, SpecError, Stale, TooLarge
from automata_svc.jobs.bundles import Bundles, code_manifest
from automata_svc.jobs.tenancy import Caller
from automata_svc.spec.archive import check_code
from automata_svc.spec.bundle import FOLDER as BUNDLES
from automata_svc.spec.bundle import Kind, bundle_key, check_bundle
from automata_svc.trials.templates import parse_template

if TYPE_CHECKING:
    from automata_svc.database import BundleRow, UploadRow

FOLDER = "uploads"
SCOPE = "code:push"
MAX_CHUNK = 16 * 2**20  # bytes; a server's own limit may be lower
MAX_PARTS = 20_000  # of one upload: half a kilobyte each in its row
STALE_S = 86_400.0  # guess: whoever has not gone on after a day begins anew


@dataclass(frozen=True)
class Begun:
    """An upload that waits for bytes, or what was pushed before."""

    upload: UploadRow | None
    bundle: BundleRow | None  # the same bytes are there under that name: nothing is to be sent


class Uploads:
    """The use cases of pushing; every method is for a caller, and safe from any thread."""

    def __init__(self, bundles: Bundles, clock: Callable[[], float] = time.time) -> None:
        self._bundles, self._clock = bundles, clock
        self._database, self._store = bundles.database, bundles.store

    def begin(
        self, caller: Caller, project: str | None, kind: str, name: str, sha256: str, size: int
    ) -> Begun:
        """Begins, or finds what was begun or is there.

        Args:
            project: None: the caller's own, else "default".
            sha256, size: of the bytes that will come.

        Raises:
            Denied: the caller may not push, or not there.
            SpecError: no such kind, name, digest or size; every mistake.
        """
        from automata_svc.database import UploadRow

        caller.needs(SCOPE)
        home = caller.home(project)
        known = check_bundle(kind, name, sha256, size)
        with suppress(NotFound):
            there = self._database.want_bundle(home, known, name, sha256)
            if self._bundles.is_stored(there):
                return Begun(None, there)
        id = _id(home, known, name, sha256, size)
        now = self._clock()
        row = UploadRow(id, home, known, name, sha256, size, 0, "[]", now, now)
        with suppress(Conflict):
            self._database.create_upload(row)
        return Begun(self._database.get_upload(id), None)

    def look(self, caller: Caller, id: str) -> UploadRow:
        """How far it is.

        Raises:
            NotFound: the caller has no such upload.
        """
        caller.needs(SCOPE)
        row = self._database.get_upload(id)
        if not caller.sees(row.project):
            raise NotFound(f"no upload '{id}' is under way; it is finished, or was given up")
        return row

    def receive(self, caller: Caller, id: str, offset: int, data: bytes) -> UploadRow:
        """Takes the next chunk; it is durable when this returns.

        Raises:
            NotFound: no such upload.
            Conflict: it goes on at another byte; says at which.
            TooLarge: more than was announced, or than one chunk may have.
            SpecError: an empty chunk.
        """
        row = self.look(caller, id)
        if not data:
            raise SpecError(Problem("body", "no bytes; send at least one"))
        if len(data) > MAX_CHUNK:
            raise TooLarge(f"{len(data):,} bytes; a chunk has at most {MAX_CHUNK:,}")
        if offset != row.received:
            raise Conflict(f"upload {id} goes on at byte {row.received}, not at {offset}")
        if offset + len(data) > row.size:
            raise TooLarge(
                f"upload {id} was announced with {row.size:,} bytes; this chunk goes to "
                f"{offset + len(data):,}"
            )
        parts = json.loads(row.parts)
        if len(parts) >= MAX_PARTS:
            raise TooLarge(f"upload {id} came in {MAX_PARTS:,} chunks; send larger ones")
        key = f"{FOLDER}/{id}/{offset:015d}-{uuid.uuid4().hex[:12]}"
        self._store.put(key, data)
        after = offset + len(data)
        try:
            self._database.advance_upload(
                id,
                offset,
                after,
                parts=json.dumps([*parts, [key, len(data)]]),
                at=self._clock(),
            )
        except (Stale, NotFound) as error:  # another sender of the same was quicker
            self._store.delete(key)
            if isinstance(error, NotFound):
                raise
            at = self._database.get_upload(id).received
            raise Conflict(f"upload {id} goes on at byte {at}, not at {offset}") from error
        return self._database.get_upload(id)

    def finish(self, caller: Caller, id: str) -> BundleRow:
        """Checks what has come, and keeps it under its name.

        Raises:
            NotFound: no such upload.
            Conflict: bytes are still to come.
            SpecError: other bytes have come than were announced, or they are no bundle of their
                kind; with every mistake. They are thrown away then.
        """
        row = self.look(caller, id)
        if row.received != row.size:
            raise Conflict(f"upload {id} has {row.received:,} of {row.size:,} bytes; send the rest")
        keys = [key for key, _ in json.loads(row.parts)]
        try:
            stream = _Hashed(self._pieces(keys))
            manifest: Mapping[str, Any] = {}
            try:
                manifest = _check(row, stream)
                mistake = None
            except SpecError as error:
                mistake = error
            if stream.drained() != row.sha256:
                said = f"its bytes have the sha256 {stream.drained()}, announced was {row.sha256}"
                raise SpecError(Problem("sha256", said))
            if mistake is not None:
                raise mistake
            kept = self._bundles.keeping(
                row.sha256, lambda: self._keep(row, keys, manifest, caller.token_id)
            )
        except SpecError:
            self._forget(id)
            raise
        except NotFound:  # its chunks went while we read: it was finished by another request
            return self._database.get_bundle(row.project, row.kind, row.name, row.sha256)
        self._forget(id)
        return kept

    def _keep(
        self, row: UploadRow, keys: Iterable[str], manifest: Mapping[str, Any], by: str
    ) -> BundleRow:
        self._store.put_stream(bundle_key(row.sha256), self._pieces(keys))
        return self._bundles.keep(
            row.project, _kind(row), row.name, row.sha256, row.size, manifest, by
        )

    def give_up(self, caller: Caller, id: str) -> None:
        """Throws away what has come.

        Raises:
            NotFound: no such upload.
        """
        self._forget(self.look(caller, id).id)

    def _pieces(self, keys: Iterable[str]) -> Iterator[bytes]:
        for key in keys:
            yield self._store.get(key)

    def _forget(self, id: str) -> None:
        # The row first: then nobody goes on with it, and what is left of it is found by `collect`.
        self._database.finish_upload(id)
        for key in self._store.keys(f"{FOLDER}/{id}"):
            self._store.delete(key)

    # ---- leftovers --------------------------------------------------------------------------

    def collect(
        self, stale_s: float = STALE_S, dry_run: bool = False
    ) -> Iterator[tuple[str, int, int]]:
        """Takes away what half-done pushes have left; gives (upload, blobs, bytes) of each."""
        now = self._store.now()
        stale = {row.id for row in self._database.list_stale_uploads(self._clock() - stale_s)}
        found: dict[str, list[Any]] = {id: [] for id in stale}
        for entry in self._store.entries(FOLDER):
            found.setdefault(entry.key.split("/")[1], []).append(entry)
        for id, entries in found.items():
            youngest = max((entry.modified for entry in entries), default=0.0)
            if id not in stale and (now - youngest < stale_s or self._is_under_way(id)):
                continue
            if not dry_run:
                self._forget(id)
            yield id, len(entries), sum(entry.size for entry in entries)

    def unused(self, unused_s: float, dry_run: bool = False) -> Iterator[BundleRow]:
        """Takes away bundles that no stored job names and nobody has pushed for so long.

        Their bytes are orphans from then on.
        """
        for row in self._database.unused_bundles(unused_s):
            if dry_run or self._database.drop_unused_bundle(row, unused_s):
                yield row

    def orphans(self, grace_s: float, dry_run: bool = False) -> Iterator[tuple[str, int]]:
        """Takes away bytes that no row names; only where no other database uses the store.

        Gives (sha256, bytes) of each. `grace_s` spares those whose row is not written yet; what is
        pushed again at this very moment is kept by the lease of `Bundles.keeping`.
        """
        now = self._store.now()
        named = {row.sha256 for row in self._database.list_bundles(None)}
        for entry in self._store.entries(BUNDLES):
            sha256 = entry.key.rpartition("/")[2]
            if sha256 not in named and now - entry.modified >= grace_s:
                if dry_run or self._remove(sha256):
                    yield sha256, entry.size

    def _remove(self, sha256: str) -> bool:
        with held_if_free(self._store, bundle_key(sha256)) as is_held:
            named = {row.sha256 for row in self._database.list_bundles(None)}
            if is_held is None or sha256 in named or not is_held():
                return False
            self._store.delete(bundle_key(sha256))
            return True

    def _is_under_way(self, id: str) -> bool:
        try:
            self._database.get_upload(id)
        except NotFound:
            return False
        return True


def _id(project: str, kind: str, name: str, sha256: str, size: int) -> str:
    about = json.dumps([project, kind, name, sha256, size])
    return f"upl_{hashlib.sha256(about.encode()).hexdigest()[:32]}"


def _kind(row: UploadRow) -> Kind:
    return check_bundle(row.kind, row.name, row.sha256, row.size)


def _check(row: UploadRow, stream: _Hashed) -> Mapping[str, Any]:
    """Whether the bytes are a bundle of their kind; what is written down of it."""
    if row.kind == "template":
        template = parse_template(stream.read(), row.name, f"{row.name}.py")
        return {
            "summary": template.summary,
            "own_schedule": template.own_schedule,
            "params": [asdict(param) for param in template.params],
        }
    if row.kind == "code":
        return code_manifest(check_code(stream))
    return check_dataset(stream).to_json()


class _Hashed:
    """Pieces as a stream that can be read once; knows the digest of all of them."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._buffer = b""
        self._total = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        parts, wanted = [], size if size >= 0 else None
        while wanted is None or wanted > 0:
            if not self._buffer:
                self._buffer = next(self._pieces, b"")
                self._total.update(self._buffer)
                if not self._buffer:
                    break
            part = self._buffer if wanted is None else self._buffer[:wanted]
            self._buffer = self._buffer[len(part) :]
            parts.append(part)
            wanted = None if wanted is None else wanted - len(part)
        return b"".join(parts)

    def drained(self) -> str:
        """The digest of everything, read to its end."""
        for piece in self._pieces:
            self._total.update(piece)
        return self._total.hexdigest()
