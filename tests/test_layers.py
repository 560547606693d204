"""Arrows point one way: which package may import which, and who may import Ray."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "automata_svc"

LEAVES = frozenset({"errors", "settings", "telemetry"})
TO_BLOBS = frozenset({"blobs", "spec"})
TO_SELECTION = TO_BLOBS | {"datasets", "selection"}
TO_RESULTS = TO_SELECTION | {"trials", "tuning", "results"}
TO_JOBS = TO_RESULTS | {"database", "jobs", "client"}

# What each part of the package may import of ours, besides itself and the leaves.
MAY_IMPORT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "errors": frozenset(),
        "settings": frozenset({"errors"}),
        "telemetry": frozenset(),
        "spec": frozenset(),
        "blobs": frozenset({"spec"}),
        "datasets": TO_BLOBS,
        "selection": TO_BLOBS | {"datasets"},
        "trials": TO_SELECTION,
        "tuning": TO_SELECTION | {"trials"},
        "results": TO_SELECTION | {"trials", "tuning"},
        "database": frozenset({"spec"}),
        "jobs": TO_RESULTS | {"database", "client"},
        "driver": TO_JOBS,
        "client": frozenset({"spec"}),
        "web": frozenset(),
        "api": TO_JOBS | {"web"},
        "cli": TO_JOBS | {"api", "web"},
        "__init__": TO_JOBS,  # connect(), which returns one or the other
        "__main__": frozenset({"cli"}),
    }
)

# the places that a new Ray can break
RAY_FILES = frozenset(
    {f"tuning/runners/ray{part}.py" for part in ("", "_head", "_host", "_tune", "_worker")}
)

HEAVY = ("ray", "torch", "sqlalchemy", "pandas", "sklearn", "scipy", "optuna")


class Import(NamedTuple):
    """One import statement: where it stands and the full dotted name it reaches for."""

    file: str  # relative to the package
    line: int
    name: str


def imports(path: Path, package: Path = PACKAGE) -> Iterator[Import]:
    """Every import in a file, wherever it stands: at the top, in a function, for types only."""
    file = path.relative_to(package)
    parents = (package.name, *file.parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            for name in _names(node, parents):
                yield Import(file.as_posix(), node.lineno, name)


def _names(node: ast.Import | ast.ImportFrom | ast.Call, parents: tuple[str, ...]) -> list[str]:
    """The dotted names a statement reaches for; `parents` is the package that it stands in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = parents[: len(parents) - node.level + 1] if node.level else ()
        base += (node.module,) if node.module else ()
        return [".".join([*base, alias.name]) for alias in node.names]
    if node.args and _is_import_module(node.func) and isinstance(node.args[0], ast.Constant):
        return [str(node.args[0].value)]
    return []


def _is_import_module(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"import_module", "__import__"}


def files() -> list[Path]:
    """The package's own modules, without the templates that a wheel carries inside it."""
    found = PACKAGE.rglob("*.py")
    return sorted(path for path in found if "_templates" not in path.relative_to(PACKAGE).parts)


def part_of(file: str) -> str:
    """The part of the package that a file belongs to: its folder, or its own name at the top."""
    return file.split("/")[0].removesuffix(".py")


def target_of(name: str, package: Path = PACKAGE) -> str | None:
    """The part of ours that a dotted name lies in; None for other libraries and `__version__`."""
    top, _, rest = name.partition(".")
    part = rest.split(".")[0]
    is_ours = top == package.name and part != ""
    exists = (package / part).is_dir() or (package / f"{part}.py").is_file()
    return part if is_ours and exists else None


def wrong_arrows(part: str, found: list[Import], package: Path = PACKAGE) -> list[str]:
    """One sentence for each import that `part` may not make."""
    allowed = MAY_IMPORT[part] | {part} | (LEAVES if part not in LEAVES else frozenset())
    return [
        f"{one.file}:{one.line} imports {one.name}; {part} may import: {', '.join(sorted(allowed))}"
        for one in found
        if (target := target_of(one.name, package)) is not None and target not in allowed
    ]


def test_every_part_of_the_package_has_its_place_among_the_layers() -> None:
    parts = {part_of(path.relative_to(PACKAGE).as_posix()) for path in files()}
    assert parts <= MAY_IMPORT.keys()


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_stands_right_of_it(part: str) -> None:
    found = [one for path in files() for one in imports(path) if part_of(one.file) == part]
    assert wrong_arrows(part, found) == []


def test_the_arrows_have_no_way_back() -> None:
    seen: set[str] = set()
    while layer := {part for part in MAY_IMPORT.keys() - seen if MAY_IMPORT[part] <= seen}:
        seen |= layer
    assert seen == set(MAY_IMPORT)


def test_an_arrow_that_points_back_is_found_however_it_is_written(tmp_path: Path) -> None:
    package = tmp_path / "ours"
    for part in ("jobs", "tuning/runners", "trials"):
        (package / part).mkdir(parents=True)
    file = package / "tuning" / "runners" / "fake.py"
    lines = (
        "import ours.jobs.drive",
        "from ours import jobs",
        "from ours.jobs import drive",
        "from ... import jobs",
        "from ...jobs import drive",
        "def late():\n    import ours.jobs",
        "importlib.import_module('ours.jobs')",
    )
    for line in lines:
        file.write_text(line)
        assert len(wrong_arrows("tuning", list(imports(file, package)), package)) == 1, line
    file.write_text("from ...trials import types\nfrom ..state import Trial\nimport jobs")
    assert wrong_arrows("tuning", list(imports(file, package)), package) == []


def test_ray_is_imported_in_two_files() -> None:
    found = {one.file for path in files() for one in imports(path) if is_ray(one.name)}
    assert found <= RAY_FILES


def is_ray(name: str) -> bool:
    return name == "ray" or name.startswith("ray.")


def test_a_leaf_loads_nothing_heavy() -> None:
    leaves = sorted(leaf for leaf in LEAVES if (PACKAGE / f"{leaf}.py").is_file())
    code = "import json, sys\nimport automata_svc\n"
    code += "".join(f"import automata_svc.{leaf}\n" for leaf in leaves)
    code += f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == []
