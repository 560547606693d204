"""What a template finds around it: modules of its own, environment variables, secrets.

A worker runs one segment after the other, perhaps of several jobs in one process. So everything is
put in place when a segment begins and taken away when it ends: two jobs whose folders hold modules
of the same names, or that set the same variable, never see each other's.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TextIO

from automata_svc.blobs.unpacked import held
from automata_svc.errors import Damaged, NotFound
from automata_svc.spec.archive import top_modules
from automata_svc.trials.errors import TemplateError

HIDDEN = "•••"  # what stands in a secret's place
LEAST = 4  # characters of a secret, or of a line of it, that is looked for in texts


@dataclass(frozen=True)
class Surroundings:
    """What the job's file says of it; pickled with the program, so without any secret's value."""

    code: str | None = None  # sha256 of the archive that the template may import from
    cache: str = ""  # folder of this machine that it is unpacked into
    cache_bytes: int | None = None  # of that folder; None: any number
    env_vars: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # names; each a variable, its value a file of `secrets_dir`
    secrets_dir: str | None = None

    @contextlib.contextmanager
    def in_place(self, read_code: Callable[[str], bytes]) -> Iterator[None]:
        """All of it, while the block runs; what the block raises or prints holds no secret.

        Args:
            read_code: gives an archive's bytes by its sha256; called where it is not unpacked yet.

        Raises:
            TemplateError: the code or a secret is not to be had; or what the block raised, where
                that held a secret.
        """
        values = {name: self._secret(name) for name in self.secrets}
        with contextlib.ExitStack() as stack:
            if values:
                stack.enter_context(hiding(tuple(values.values())))
            stack.enter_context(variables({**dict(self.env_vars), **values}))
            if self.code is not None:
                code = stack.enter_context(self._unpacked(self.code, read_code))
                stack.enter_context(importable(code))
            yield

    def _secret(self, name: str) -> str:
        path = Path(self.secrets_dir or "") / name
        try:
            if self.secrets_dir is None:
                raise FileNotFoundError
            return path.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise TemplateError(
                f"secret '{name}' cannot be read on this worker ({why}); AUTOMATA_SECRETS_DIR is "
                f"{self.secrets_dir or 'not set'}"
            ) from None

    @contextlib.contextmanager
    def _unpacked(self, sha256: str, read_code: Callable[[str], bytes]) -> Iterator[Path]:
        """The folder of the code; nobody takes it away while trials may still import of it."""
        with contextlib.ExitStack() as stack:
            holding = held(
                Path(self.cache), sha256, "tar.gz", lambda: (read_code(sha256),), self.cache_bytes
            )
            try:
                folder = stack.enter_context(holding)
            except (NotFound, Damaged) as error:  # else it would be taken for a checkpoint's fault
                raise TemplateError(f"the job's code cannot be had: {error}") from error
            yield folder


NOTHING = Surroundings()


# ---- modules ------------------------------------------------------------------------------------


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """While the block runs, `import` looks into `folder` first; afterwards nothing of it is left.

    Modules are run anew each time, as templates are. One that is loaded already and has a name of
    the folder's is put aside, and is back afterwards.
    """
    root = str(folder)
    aside = _take(_own_names(folder))
    sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the block has rearranged it
            sys.path.remove(root)
        for name, module in list(sys.modules.items()):
            if _lies_in(module, root):
                del sys.modules[name]
        sys.modules.update(aside)


def _own_names(folder: Path) -> set[str]:
    names = [entry.name for entry in folder.iterdir()]
    packages = [f"{one}/__init__.py" for one in names if (folder / one / "__init__.py").is_file()]
    return top_modules([*names, *packages])


def _take(names: set[str]) -> dict[str, ModuleType]:
    taken = {name: one for name, one in sys.modules.items() if name.partition(".")[0] in names}
    for name in taken:
        del sys.modules[name]
    return taken


def _lies_in(module: ModuleType | None, root: str) -> bool:
    """Whether a module, or one of a namespace package's folders, is below `root`."""
    places: list[str] = []
    with contextlib.suppress(Exception):  # a module may be an object with ideas of its own
        places.append(str(getattr(module, "__file__", None) or ""))
        places.extend(str(place) for place in getattr(module, "__path__", None) or ())
    return any(place == root or place.startswith(root + os.sep) for place in places)


# ---- variables ----------------------------------------------------------------------------------


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """These in the environment while the block runs; afterwards the environment as it was."""
    if not values:
        yield
        return
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


# ---- secrets ------------------------------------------------------------------------------------


@contextlib.contextmanager
def hiding(values: Sequence[str]) -> Iterator[None]:
    """What the block prints or raises goes out without these texts."""
    patterns = _patterns(values)
    out, err = _Hiding(sys.stdout, patterns), _Hiding(sys.stderr, patterns)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    except (Exception, SystemExit) as error:
        said = "".join(traceback.format_exception(error))
        clean = _without(said, patterns)
        if clean == said:
            raise
        raise TemplateError(f"{type(error).__name__}, secrets taken out:\n{clean}") from None


def _patterns(values: Sequence[str]) -> tuple[str, ...]:
    """Each text and its lines, the longest first; also as `repr` and JSON would write them."""
    found = set()
    for value in values:
        for text in (value, *value.splitlines()):
            for one in (text, repr(text)[1:-1]):
                if len(one.strip()) >= LEAST:
                    found.add(one.strip())
    return tuple(sorted(found, key=len, reverse=True))


def _without(text: str, patterns: Sequence[str]) -> str:
    for pattern in patterns:
        text = text.replace(pattern, HIDDEN)
    return text


class _Hiding(io.TextIOBase):
    """A stream that passes on what is written, without some texts."""

    def __init__(self, to: TextIO, patterns: Sequence[str]) -> None:
        self._to, self._patterns = to, patterns

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._to.write(_without(text, self._patterns))
        return len(text)

    def flush(self) -> None:
        if not self._to.closed:  # Python flushes once more when it collects this
            self._to.flush()
