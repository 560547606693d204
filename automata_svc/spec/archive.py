"""Folders and files as one archive, byte for byte the same wherever it is made; and back, warily.

A packed archive holds plain files only, under relative names in sorted order, without times,
owners or rights but "may be run". Unpacking holds whoever packed to the same: what comes over the
wire is somebody else's.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import stat
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from automata_svc.errors import Problem, SpecError
from automata_svc.spec.bundle import MAX_BYTES, MB

MAX_FILES = 10_000  # guess: more are an environment or a data set, not somebody's code
MAX_UNPACKED = 256 * MB  # of code: five times what is packed; a bomb stops here
SHOWN = 5  # names in a message

# Never part of anybody's code, and large or private: left out, and said so.
LEFT_OUT = frozenset(
    {
        "__pycache__", ".git", ".hg", ".svn", ".venv", "venv", "node_modules", ".tox", ".nox",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".ipynb_checkpoints",
        ".eggs", ".idea", ".vscode", ".DS_Store", ".env",
    }
)  # fmt: skip
LEFT_OUT_ENDINGS = (".pyc", ".pyo", ".swp", "~")

# Modules that a worker has loaded long before it sees anybody's code: shadowing one breaks it.
_OURS = frozenset({"automata_svc", "numpy", "obstore", "pandas", "pydantic", "ray", "torch"})
RESERVED = frozenset(sys.stdlib_module_names) | _OURS

_PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,200}")
Form = Literal["tar", "tar.gz"]


class Readable(Protocol):
    """Bytes that can be read once, from the front."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Packed:
    """A folder as one archive."""

    data: bytes  # tar.gz
    sha256: str
    files: tuple[str, ...]  # what is in it, sorted
    left_out: tuple[str, ...]  # what is not, though it lies there; folders end with '/'


def pack_folder(folder: Path) -> Packed:
    """The files below a folder as a tar.gz: equal files, equal bytes.

    Caches, version control and virtual environments are left out (`LEFT_OUT`). A link to a file in
    the folder becomes that file.

    Raises:
        SpecError: no such folder, links that lead out of it, devices, too many or too large files,
            a module that would hide one of Python's or ours; every mistake.
    """
    found = list_folder(folder)
    entries = [(name, folder / name) for name in found.files]
    data = _packed(entries)
    if len(data) > MAX_BYTES["code"]:
        raise SpecError(
            f"{len(data):,} bytes when packed; code has at most {MAX_BYTES['code']:,}; "
            f"the largest files: {_largest(entries)}",
            source=str(folder),
        )
    return Packed(data, hashlib.sha256(data).hexdigest(), found.files, found.left_out)


@dataclass(frozen=True)
class Listed:
    """What `pack_folder` would pack."""

    files: tuple[str, ...]
    left_out: tuple[str, ...]
    bytes: int


def list_folder(folder: Path) -> Listed:
    """Looks a folder of code through without reading its files.

    Raises:
        SpecError: as `pack_folder`.
    """
    if not folder.is_dir():
        is_file = folder.is_file()
        said = "is a file; code is a folder" if is_file else "there is no such folder"
        raise SpecError(said, source=str(folder))
    walk = _Walk(folder.resolve())
    walk.into("")
    files = tuple(sorted(walk.files))
    problems = list(walk.problems)
    if not files and not problems:
        problems.append(Problem("", "holds no file that could be code"))
    if len(files) > MAX_FILES:
        problems.append(Problem("", f"{len(files):,} files; code has at most {MAX_FILES:,}"))
    if walk.bytes > MAX_UNPACKED:
        largest = _largest([(name, folder / name) for name in files])
        said = f"{walk.bytes:,} bytes; code has at most {MAX_UNPACKED:,}; the largest: {largest}"
        problems.append(Problem("", said))
    problems.extend(_shadows(files))
    if problems:
        raise SpecError(problems, source=str(folder))
    return Listed(files, tuple(sorted(walk.left_out)), walk.bytes)


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[str] = []
        self.left_out: list[str] = []
        self.problems: list[Problem] = []
        self.bytes = 0

    def into(self, below: str) -> None:
        with os.scandir(self.root / below) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                self._take(f"{below}/{entry.name}" if below else entry.name, entry)

    def _take(self, name: str, entry: os.DirEntry[str]) -> None:
        is_dir = entry.is_dir(follow_symlinks=False)
        if entry.name in LEFT_OUT or (not is_dir and entry.name.endswith(LEFT_OUT_ENDINGS)):
            self.left_out.append(name + "/" if is_dir else name)
        elif (said := name_mistake(name)) is not None:
            self.problems.append(Problem(ascii(name)[1:-1], said))
        elif entry.is_symlink():
            self._link(name, Path(entry.path))
        elif is_dir:
            self.into(name)
        elif entry.is_file(follow_symlinks=False):
            self._file(name, entry.stat().st_size)
        else:
            self.problems.append(Problem(name, "is neither a file nor a folder"))

    def _link(self, name: str, path: Path) -> None:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            self.problems.append(Problem(name, "is a link to something that is not there"))
            return
        if not target.is_relative_to(self.root):
            said = f"is a link that leads out of the folder, to {target}; put a copy in its place"
            self.problems.append(Problem(name, said))
        elif not target.is_file():
            said = "is a link to a folder; put a copy in its place"
            self.problems.append(Problem(name, said))
        else:
            self._file(name, target.stat().st_size)

    def _file(self, name: str, size: int) -> None:
        self.files.append(name)
        self.bytes += size


def _packed(entries: Sequence[tuple[str, Path]]) -> bytes:
    out = io.BytesIO()
    # No name and no time in gzip's own head; tar's heads are made by hand below.
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, path in entries:
                raw = path.read_bytes()
                is_run = bool(path.stat().st_mode & stat.S_IXUSR)
                archive.addfile(_head(name, len(raw), 0o755 if is_run else 0o644), io.BytesIO(raw))
    return out.getvalue()


def _head(name: str, size: int, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.type = size, mode, 0, tarfile.REGTYPE
    return info


def tar_stream(files: Sequence[tuple[str, bytes | Path]]) -> Iterator[bytes]:
    """A plain tar of a few, perhaps large, files, piece by piece; in the order given.

    Args:
        files: names in the archive, each with its bytes or where they are.
    """
    for name, content in files:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        yield _head(name, size).tobuf(tarfile.PAX_FORMAT, "utf-8")
        if isinstance(content, bytes):
            yield content
        else:
            left = size
            with content.open("rb") as stream:
                while left and (piece := stream.read(min(MB, left))):
                    left -= len(piece)
                    yield piece
            if left:
                raise SpecError(f"{content} became shorter while it was read")
        yield b"\0" * (-size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


# ---- back ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    size: int
    is_run: bool
    stream: Readable  # to be read before the next member is asked for


def members(
    stream: Readable, form: Form, max_bytes: int = MAX_UNPACKED, max_files: int = MAX_FILES
) -> Iterator[Member]:
    """The files of an archive that may be anybody's, in its order; nothing is written.

    Raises:
        SpecError: it is no such archive, or holds what none of ours does: absolute names or `..`,
            links, devices, a name twice, too many files or bytes.
    """
    source: Any = stream  # gzip asks for `seek` in its types, and never for it here
    plain: Any = gzip.GzipFile(fileobj=source) if form == "tar.gz" else source
    bounded: Any = _Bounded(plain, max_bytes + max_files * 4 * tarfile.BLOCKSIZE)
    names: set[str] = set()
    total = 0
    try:
        with tarfile.open(fileobj=bounded, mode="r|") as archive:
            for info in archive:
                if info.isdir():
                    continue
                said = name_mistake(info.name)
                if said is None and (not info.isreg() or info.issparse()):
                    said = "is a link, a device or something else that is no plain file"
                if said is None and info.name in names:
                    said = "is in it twice"
                total += info.size
                names.add(info.name)
                if said is not None:
                    raise SpecError(Problem(ascii(info.name)[1:-1], said), source="archive")
                if len(names) > max_files or total > max_bytes:
                    raise SpecError(
                        f"more than {max_files:,} files or {max_bytes:,} bytes", source="archive"
                    )
                body = archive.extractfile(info)
                if body is None:
                    raise SpecError(Problem(info.name, "is no plain file"), source="archive")
                yield Member(info.name, info.size, bool(info.mode & stat.S_IXUSR), body)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of a disk, not of the archive
        raise SpecError(f"is no {form} archive: {error}", source="archive") from error


class _Bounded:
    """A stream that ends with an error where a bomb would go on."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._left, self._limit = stream, limit, limit

    def read(self, size: int) -> bytes:
        raw: bytes = self._stream.read(size)
        self._left -= len(raw)
        if self._left < 0:
            raise SpecError(f"unpacks to more than {self._limit:,} bytes", source="archive")
        return raw


def check_code(stream: Readable) -> Mapping[str, int]:
    """The files of a pushed archive of code, with their bytes.

    Raises:
        SpecError: as `members`; or it holds no file, or a module that hides one of Python's.
    """
    found = {}
    for member in members(stream, "tar.gz"):
        found[member.name] = member.size
        while member.stream.read(MB):  # to the end, so that a broken one is found now
            pass
    problems = list(_shadows(found))
    if not found:
        problems.append(Problem("", "holds no file"))
    if problems:
        raise SpecError(problems, source="archive")
    return found


def unpack(stream: Readable, form: Form, folder: Path, max_bytes: int = MAX_UNPACKED) -> None:
    """Writes the files of an archive below `folder`, which must be new and the caller's own.

    Raises:
        SpecError: as `members`; what was written before stays.
    """
    for member in members(stream, form, max_bytes):
        path = folder.joinpath(*member.name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            left = member.size
            while left and (piece := member.stream.read(min(MB, left))):
                file.write(piece)
                left -= len(piece)
        if left:
            raise SpecError(Problem(member.name, "is shorter than it says"), source="archive")
        if member.is_run:
            path.chmod(0o755)


# ---- names --------------------------------------------------------------------------------------


def name_mistake(name: str) -> str | None:
    """What is wrong with a file's name in an archive; None: it can lead nowhere but below."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        return "leads out of the folder"
    if len(name) > 1_000 or len(parts) > 40:
        return "has too long a name"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "has a name that is no UTF-8"
    if any(part in ("", ".") or not _PART.fullmatch(part) for part in parts):
        return "has a name that not every system can hold"
    return None


def top_modules(names: Sequence[str] | Mapping[str, object]) -> set[str]:
    """The modules that `import` would find first in a folder with these files."""
    found = set()
    for name in names:
        first, _, rest = name.partition("/")
        if rest in ("__init__.py",):
            found.add(first)
        elif not rest and first.endswith((".py", ".so", ".pyd")):
            found.add(first.partition(".")[0])
    return found


def _shadows(names: Sequence[str] | Mapping[str, object]) -> list[Problem]:
    return [
        Problem(name, f"a module of this name hides '{name}', which trials need; call it otherwise")
        for name in sorted(top_modules(names) & RESERVED)
    ]


def _largest(entries: Sequence[tuple[str, Path]]) -> str:
    sizes = sorted(((path.stat().st_size, name) for name, path in entries), reverse=True)
    return ", ".join(f"{name} ({size:,})" for size, name in sizes[:SHOWN])
