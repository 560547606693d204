"""Finding templates and reading what they declare, without running a line of them."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from automata_svc.errors import NotFound, Problem, SpecError, UnknownName
from automata_svc.settings import Settings
from automata_svc.trials.params import KINDS

Value = int | float | str | bool
DATA_KINDS = ("tabular", "text")  # as in datasets.types.Shape

FUNCTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"build": ("params", "dataset"), "train": ("trial",)}
)


@dataclass(frozen=True)
class ParamDecl:
    """One parameter a template declares."""

    name: str
    type: str  # "int", "float", "str" or "bool"
    default: Value


@dataclass(frozen=True)
class Template:
    """A training program as it is written: all that can be known without running it."""

    name: str  # the file's name without .py
    path: str
    text: str
    sha256: str  # of the file's bytes
    summary: str  # first line of its docstring
    params: tuple[ParamDecl, ...]
    own_schedule: bool  # OWN_SCHEDULE = True: its learning rate is left alone at the finish
    kind: str | None = None  # KIND = "text": the only kind of data it works with; None: not said

    @property
    def defaults(self) -> dict[str, Value]:
        """Parameter → default value."""
        return {param.name: param.default for param in self.params}


@dataclass(frozen=True)
class BrokenTemplate:
    """A file in a template folder that cannot be used, and why."""

    name: str
    path: str
    error: SpecError


def find_template(name_or_path: str, settings: Settings) -> Template:
    """The template of that name, or in that file (anything with a '/' or ending in '.py').

    The operator's folders come first, then the ones that come with us.

    Raises:
        UnknownName: no folder has it; the known ones are named.
        NotFound: there is no such file.
        SpecError: the file is not a usable template; every mistake with its line.
    """
    if is_path(name_or_path):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            whence = "" if path.is_absolute() else f" from {Path.cwd()}"
            raise NotFound(f"template '{name_or_path}': there is no such file{whence}")
        return read_template(path)
    files = _files(settings)
    if name_or_path not in files:
        raise UnknownName("template", name_or_path, files, pointer="trial.template")
    return read_template(files[name_or_path])


def is_path(name_or_path: str) -> bool:
    """Whether a file is meant, not a name."""
    return name_or_path.endswith(".py") or "/" in name_or_path


def list_templates(settings: Settings) -> tuple[Template, ...]:
    """All usable templates, by name; `broken_templates` has the others."""
    return tuple(found for found in _read_all(settings) if isinstance(found, Template))


def broken_templates(settings: Settings) -> tuple[BrokenTemplate, ...]:
    """Files in the template folders that cannot be used, with every mistake in them."""
    return tuple(found for found in _read_all(settings) if isinstance(found, BrokenTemplate))


def packaged_folder() -> Path:
    """Our own templates: the checkout's, live, or those that the wheel carries."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "trial_templates"
    # Only a checkout has a pyproject.toml beside the package: site-packages has neither.
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    return package / "_templates"


def read_template(path: Path) -> Template:
    """Read one file; again only if it has changed.

    Raises:
        SpecError: it is not a usable template; every mistake with its line.
    """
    seen = path.stat()
    return _read(path, (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns))


@lru_cache(maxsize=256)
def _read(path: Path, seen: tuple[int, ...]) -> Template:
    return parse_template(path.read_bytes(), path.stem, str(path))


def parse_template(raw: bytes, name: str, source: str) -> Template:
    """What a template's bytes declare.

    Args:
        name: what it is called.
        source: where it is from; the path of the template, and of its mistakes.

    Raises:
        SpecError: as `read_template`.
    """
    try:
        return _parsed(raw, name, source)
    except (RecursionError, MemoryError):  # Python's words for it, at whichever step
        raise SpecError("is nested too deeply to be read", source) from None


def _parsed(raw: bytes, name: str, source: str) -> Template:
    try:
        text = raw.decode()
        tree = ast.parse(without_mark(text))
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text: {error}", source) from error
    except (SyntaxError, ValueError) as error:
        line, what = getattr(error, "lineno", None), getattr(error, "msg", str(error))
        problem = Problem(f"line {line}" if line else "", f"not python: {what}")
        raise SpecError(problem, source) from error
    problems: list[Problem] = []
    docstring = (ast.get_docstring(tree) or "").strip()
    if not docstring:
        problems.append(Problem("line 1", "no docstring; its first line says what is trained"))
    params = _params(tree, problems)
    _check_functions(tree, problems)
    own_schedule = _constant(tree, "OWN_SCHEDULE", False, (True, False), problems)
    kind = _constant(tree, "KIND", None, DATA_KINDS, problems)
    if problems:
        raise SpecError(problems, source)
    return Template(
        name=name,
        path=source,
        text=text,
        sha256=hashlib.sha256(raw).hexdigest(),
        summary=docstring.splitlines()[0],
        params=params,
        own_schedule=own_schedule,
        kind=kind,
    )


def without_mark(text: str) -> str:
    """A program without the byte order mark that some editors put first, as Python reads files."""
    return text.removeprefix("\ufeff")


def _files(settings: Settings) -> dict[str, Path]:
    """Template name → file; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in (*settings.template_dirs, packaged_folder()):
        if folder.is_dir():
            for path in sorted(folder.glob("*.py")):
                if not path.name.startswith("_"):
                    found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _read_all(settings: Settings) -> Iterator[Template | BrokenTemplate]:
    for name, path in _files(settings).items():
        try:
            yield read_template(path)
        except SpecError as error:
            yield BrokenTemplate(name, str(path), error)


def _at(node: ast.stmt | ast.expr) -> str:
    return f"line {node.lineno}"


def _params(tree: ast.Module, problems: list[Problem]) -> tuple[ParamDecl, ...]:
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Params"]
    if not classes:
        problems.append(
            Problem("", "no `class Params(TrialParams)` that declares its parameters and defaults")
        )
        return ()
    cls = classes[-1]
    if not any(ast.unparse(base).split(".")[-1] == "TrialParams" for base in cls.bases):
        problems.append(Problem(_at(cls), "class Params must be a TrialParams"))
    before = len(problems)
    found: dict[str, ParamDecl] = {}
    for node in cls.body:
        if isinstance(node, ast.Assign):
            names = ", ".join(ast.unparse(target) for target in node.targets)
            problems.append(
                Problem(_at(node), f"Params.{names} has no type; write `{names}: float = …`")
            )
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            decl = _declaration(node, node.target.id, problems)
            if decl is not None and decl.name in found:
                problems.append(Problem(_at(node), f"Params.{decl.name} is declared twice"))
            elif decl is not None:
                found[decl.name] = decl
    if "epochs" not in found and len(problems) == before:
        problems.append(
            Problem(_at(cls), "Params needs `epochs: int = …`: a full training is epochs × rows")
        )
    return tuple(found.values())


def _declaration(node: ast.AnnAssign, name: str, problems: list[Problem]) -> ParamDecl | None:
    def wrong(message: str) -> None:
        problems.append(Problem(_at(node), f"Params.{name} {message}"))

    kind = ast.unparse(node.annotation).strip("'\"")
    if kind not in KINDS:
        wrong(f"is of type {kind}; a parameter is one of {', '.join(sorted(KINDS))}")
        return None
    if node.value is None:
        wrong("has no default")
        return None
    try:
        value = ast.literal_eval(node.value)
        if kind == "float" and type(value) is int:
            value = float(value)
    except OverflowError:
        wrong("has a default beyond what a float holds")
        return None
    except (ValueError, TypeError):
        wrong(f"has the default `{ast.unparse(node.value)}`, which is not a literal {kind}")
        return None
    if not isinstance(value, (int, float, str, bool)) or type(value) is not KINDS[kind]:
        wrong(f"is of type {kind}, its default {value!r} is not")
        return None
    return ParamDecl(name, kind, value)


def _check_functions(tree: ast.Module, problems: list[Problem]) -> None:
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, arguments in FUNCTIONS.items():
        want = f"`def {name}({', '.join(arguments)})`"
        function = functions.get(name)
        if function is None:
            problems.append(Problem("", f"no {want}"))
            continue
        args = function.args
        most = len(args.posonlyargs) + len(args.args)
        least = most - len(args.defaults)
        forced = any(default is None for default in args.kw_defaults)
        if not least <= len(arguments) <= most and not (args.vararg and least <= len(arguments)):
            forced = True
        if forced:
            problems.append(Problem(_at(function), f"{name} is called as {want}"))


def _constant(
    tree: ast.Module, name: str, default: Any, allowed: Sequence[Any], problems: list[Problem]
) -> Any:
    """What the module sets `name` to, which must be one of `allowed`, written out."""
    found = default
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if not any(isinstance(t, ast.Name) and t.id == name for t in targets):
            continue
        value = getattr(node.value, "value", None)  # type: ignore[attr-defined]
        if any(type(value) is type(one) and value == one for one in allowed):
            found = value
        else:
            choice = " or ".join(map(repr, allowed))
            problems.append(Problem(_at(node), f"{name} is {choice}, nothing computed"))
    return found
