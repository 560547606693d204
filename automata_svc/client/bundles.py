"""Pushing a template, a dataset or a folder of code: in chunks, going on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from automata_svc.errors import Conflict, NotFound, Problem, SpecError, Unavailable
from automata_svc.spec.archive import pack_folder, tar_stream
from automata_svc.spec.bundle import (
    CHUNK_BYTES,
    DATASET_FORMAT,
    DATASET_MANIFEST,
    MAX_BYTES,
    BundleRef,
    Kind,
    check_bundle,
    looks_like_ref,
    name_from,
    size_said,
)
from automata_svc.spec.job import DATASET_SUFFIXES, TrialSpec
from automata_svc.spec.wire.bundles import Bundle, Upload

# What is pushed, bytes that have arrived, bytes in all: called at the start, then after each chunk.
Progress = Callable[[str, int, int], None]

CHUNK_S = 120.0  # guess: for one chunk over a slow line
FINISH_S = 600.0  # guess: the server reads everything twice, of a store that may be far
TRIES, FIRST_PAUSE_S, LONGEST_PAUSE_S = 8, 0.5, 15.0  # without a single byte more


class Answered(Protocol):
    """A response that was no error."""

    def json(self) -> Any: ...


class Sends(Protocol):
    """What pushing needs of an HTTP client."""

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answered:
        """Sends a request.

        Raises:
            AutomataError: what a problem of the server stands for; Unavailable: it cannot be
                reached, or says later.
        """
        ...


@dataclass(frozen=True)
class Prepared:
    """Bytes that are ready to be sent."""

    kind: Kind
    name: str
    sha256: str
    size: int
    pieces: Callable[[], Iterator[bytes]]  # the same bytes each time
    left_out: tuple[str, ...] = ()  # of a folder: what is not sent, though it lies there


def push(
    client: Sends,
    kind: Kind,
    path: str | Path,
    name: str | None = None,
    progress: Progress | None = None,
    *,
    project: str | None = None,
    target: str | None = None,
    test: str | Path | None = None,
    val: str | Path | None = None,
) -> str:
    """Brings a file or folder to a server, and returns what a job says to mean it: name@sha256.

    What the server has already is not sent again; what was begun goes on.

    Args:
        kind: template (one .py), dataset (one file, and perhaps one with test and one with
            validation rows), code (a folder).
        name: None: made of the file's.
        project: None: the token's own, else "default".
        target, test, val: of a dataset, as a job's file has them.

    Raises:
        SpecError: there is no such file, or it cannot be used; every mistake that is seen here.
        AutomataError: what the server says; Unavailable: it is away for too long, and the next
            push of the same goes on where this one stopped.
    """
    prepared = prepare(kind, path, name, target=target, test=test, val=val)
    return send(client, prepared, progress, project)


def send(
    client: Sends,
    prepared: Prepared,
    progress: Progress | None = None,
    project: str | None = None,
) -> str:
    """Sends what was prepared; see `push`."""
    say = progress or (lambda what, sent, size: None)
    params = {} if project is None else {"project": project}
    ref = str(BundleRef(prepared.name, prepared.sha256))
    body = {
        "kind": prepared.kind,
        "name": prepared.name,
        "sha256": prepared.sha256,
        "size": prepared.size,
    }
    what, tries = f"{prepared.kind} {prepared.name}", 0
    begun: Upload | None = None

    def said(sent: int) -> None:
        say(what, sent, prepared.size)

    while True:
        try:
            begun = _upload(client.request("POST", "/v1/uploads", params=params, json=body))
        except Unavailable:
            tries += 1
            if begun is None or tries >= TRIES:  # one that was there a moment ago is waited for
                raise
            time.sleep(min(FIRST_PAUSE_S * 2**tries, LONGEST_PAUSE_S))
            continue
        said(begun.received)
        if begun.done or begun.id is None:
            return ref
        before = begun.received
        try:
            _send_rest(client, prepared, begun, said)
            answer = client.request("POST", f"/v1/uploads/{begun.id}:finish", timeout_s=FINISH_S)
            return Bundle.model_validate(answer.json()).ref
        except (Conflict, NotFound, Unavailable) as error:
            # Somebody else sends the same, or the line was cut: look where it goes on.
            now = _received(client, begun.id)
            tries = 0 if now is not None and now > before else tries + 1
            if tries >= TRIES:
                raise
            if isinstance(error, Unavailable) or tries > 1:
                time.sleep(min(FIRST_PAUSE_S * 2**tries, LONGEST_PAUSE_S))


def _send_rest(
    client: Sends, prepared: Prepared, begun: Upload, said: Callable[[int], None]
) -> None:
    at = begun.received
    for chunk in _chunks(prepared.pieces(), at):
        answer = client.request(
            "PATCH",
            f"/v1/uploads/{begun.id}",
            content=chunk,
            headers={"Content-Type": "application/octet-stream", "Upload-Offset": str(at)},
            timeout_s=CHUNK_S,
        )
        at = _upload(answer).received
        said(at)


def _received(client: Sends, upload: str) -> int | None:
    """Bytes that have arrived; None: it is not known."""
    try:
        return _upload(client.request("GET", f"/v1/uploads/{upload}")).received
    except (NotFound, Unavailable):
        return None


def _upload(answer: Answered) -> Upload:
    return Upload.model_validate(answer.json())


def _chunks(pieces: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """All bytes after the first `skip`, in chunks of equal size but the last."""
    waiting = bytearray()
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            continue
        waiting += memoryview(piece)[skip:]
        skip = 0
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)


# ---- what is sent -------------------------------------------------------------------------------


def prepare(
    kind: Kind,
    path: str | Path,
    name: str | None = None,
    *,
    target: str | None = None,
    test: str | Path | None = None,
    val: str | Path | None = None,
) -> Prepared:
    """Reads a file or folder, as far as it takes to know its digest; see `push`.

    Raises:
        SpecError: there is no such thing, or it cannot be used.
    """
    where = Path(path).expanduser()
    called = name or name_from(where.resolve().name, kind)
    left_out: tuple[str, ...] = ()
    if kind == "code":
        packed = pack_folder(where)
        left_out = packed.left_out
        found = _of_bytes(packed.data)
    elif kind == "template":
        if not where.name.endswith(".py"):
            raise SpecError(f"'{where}': a template is a Python file, as in mine.py")
        found = _of_bytes(_read(where))
    else:
        found = _dataset(called, where, target, test, val)
    sha256, size, pieces = found
    if size > MAX_BYTES[kind]:
        raise SpecError(size_said(kind, size), source=str(where))
    check_bundle(kind, called, sha256, size)
    return Prepared(kind, called, sha256, size, pieces, left_out)


Found = tuple[str, int, Callable[[], Iterator[bytes]]]


def _of_bytes(data: bytes) -> Found:
    return hashlib.sha256(data).hexdigest(), len(data), lambda: iter((data,))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read '{path}': {error.strerror}") from None


def _dataset(
    name: str,
    path: Path,
    target: str | None,
    test: str | Path | None,
    val: str | Path | None,
) -> Found:
    given = {"path": path, "test": test, "val": val}
    paths = {key: Path(one).expanduser() for key, one in given.items() if one is not None}
    problems = []
    names: dict[str, str] = {}
    for key, one in paths.items():
        ending = _ending(one)
        if ending is None:
            said = f"'{one}': nothing reads files like this; known: {', '.join(DATASET_SUFFIXES)}"
            problems.append(Problem(key, said))
        elif not one.is_file():
            problems.append(Problem(key, f"'{one}': there is no such file"))
        else:
            names[key] = f"{name}{'' if key == 'path' else f'.{key}'}{ending}"
    if problems:
        raise SpecError(problems, source="dataset")
    manifest = {
        "format": DATASET_FORMAT,
        "path": names["path"],
        "target": target,
        "test": names.get("test"),
        "val": names.get("val"),
    }
    files: list[tuple[str, bytes | Path]] = [
        (DATASET_MANIFEST, json.dumps(manifest, sort_keys=True).encode())
    ]
    files += [(names[key], one) for key, one in paths.items()]
    total, size = hashlib.sha256(), 0
    for piece in tar_stream(files):
        total.update(piece)
        size += len(piece)
    return total.hexdigest(), size, lambda: tar_stream(files)


def _ending(path: Path) -> str | None:
    fitting = [one for one in DATASET_SUFFIXES if path.name.lower().endswith(one)]
    return max(fitting, key=len) if fitting else None


# ---- what a job names by path -------------------------------------------------------------------


def push_paths(
    client: Sends,
    trial: TrialSpec,
    progress: Progress | None = None,
    project: str | None = None,
) -> list[str]:
    """Pushes what a job's trial section names by path.

    Returns:
        What is to be set in the job (as `--set` has it), so that it names what was pushed.

    Raises:
        As `push`.
    """
    sets = []
    template, dataset, code = trial.template, trial.dataset, trial.code
    if template is not None and ("/" in template or template.endswith(".py")):
        ref = push(client, "template", template, None, progress, project=project)
        sets.append(f"spec.trial.template={json.dumps(ref)}")
    if dataset is not None and dataset.path is not None:
        ref = push(
            client, "dataset", dataset.path, None, progress, project=project,
            target=dataset.target, test=dataset.test, val=dataset.val,
        )  # fmt: skip
        sets.append(f"spec.trial.dataset={json.dumps(ref)}")
    if code is not None and not looks_like_ref(code):
        ref = push(client, "code", code, None, progress, project=project)
        sets.append(f"spec.trial.code={json.dumps(ref)}")
    return sets
