"""What `automata doctor` looks at; one function a check, one table of them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

from automata_svc.errors import AutomataError
from automata_svc.results.figures import counted
from automata_svc.settings import Settings

Mark = Literal["ok", "note", "problem"]

IMPORT_TIMEOUT_S = 120.0  # guess: a cold disk needs a minute for torch


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    name: str
    mark: Mark
    said: str
    todo: str = ""


@dataclass(frozen=True)
class Check:
    """A named look at one thing."""

    name: str
    look: Callable[[Settings], tuple[Mark, str, str]]


def run(check: Check, settings: Settings) -> Finding:
    """One check; whatever it raises is what it found."""
    try:
        return Finding(check.name, *check.look(settings))
    except AutomataError as error:
        return Finding(check.name, "problem", str(error))
    except Exception as error:  # a library may fail in any way: that is what is being looked for
        return Finding(check.name, "problem", f"{type(error).__name__}: {error}")


def _python(settings: Settings) -> tuple[Mark, str, str]:
    said = f"{platform.python_version()} in {sys.prefix}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return "problem", said, "use Python 3.11, 3.12 or 3.13"
    return "ok", said, ""


def _packages(settings: Settings) -> tuple[Mark, str, str]:
    try:
        wanted = requires("automata_svc") or []
    except PackageNotFoundError:
        return "note", "run from a checkout that is not installed", "make setup"
    names = [_name(line) for line in wanted if "extra ==" not in line]
    found, absent = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    if absent:
        todo = "install the package again: pip install -e . (make setup)"
        return "problem", f"not installed: {', '.join(absent)}", todo
    return "ok", ", ".join(found), ""


def _name(requirement: str) -> str:
    for stop in "[<>=!~; ":
        requirement = requirement.split(stop)[0]
    return requirement


def _home(settings: Settings) -> tuple[Mark, str, str]:
    try:
        settings.make_home()
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        todo = "make it writable, or name another folder in AUTOMATA_HOME"
        return "problem", f"{settings.home} is not writable: {error.strerror}", todo
    free = shutil.disk_usage(settings.home).free
    said = f"{settings.home}, {free / 1e9:.1f} GB free"
    if free < 1e9:
        return "note", said, "checkpoints may fill it; free some space"
    return "ok", said, ""


def _database(settings: Settings) -> tuple[Mark, str, str]:
    from automata_svc.database import open_database

    with open_database(settings.database_url) as database:
        jobs = database.list_jobs()
    return "ok", f"{settings.database_url}, {counted(len(jobs), 'job')}", ""


def _store(settings: Settings) -> tuple[Mark, str, str]:
    from automata_svc.blobs import open_store

    store = open_store(settings.store_url)
    key = f"doctor/{os.getpid()}"
    store.put(key, b"written by automata doctor")
    store.delete(key)
    return "ok", f"{settings.store_url} takes, gives and forgets", ""


def _data(settings: Settings) -> tuple[Mark, str, str]:
    from automata_svc.datasets.sources import list_datasets

    listed = list_datasets(settings)
    here = [one.name for one in listed if one.found is not None]
    absent = [one.name for one in listed if one.found is None]
    lost = [str(folder) for folder in settings.data_dirs if not folder.is_dir()]
    said = f"here: {', '.join(here) or 'none'}"
    if lost:
        return "note", f"{said}; no such folder: {', '.join(lost)}", "correct AUTOMATA_DATA_DIRS"
    if absent:
        todo = "AUTOMATA_DATA_DIRS names their folder; how to get them: automata datasets ls"
        return "note", f"{said}; not here: {', '.join(absent)}", todo
    return "ok", said, ""


def _templates(settings: Settings) -> tuple[Mark, str, str]:
    from automata_svc.trials.templates import broken_templates, list_templates

    names = ", ".join(one.name for one in list_templates(settings))
    broken = broken_templates(settings)
    if broken:
        which = ", ".join(one.path for one in broken)
        return "note", f"{names}; not usable: {which}", f"automata templates check {broken[0].path}"
    if not names:
        return "problem", "none found", "install the package again: it carries its templates"
    return "ok", names, ""


def _processors(settings: Settings) -> tuple[Mark, str, str]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS")
    said = f"{count} for this process" + (f", OMP_NUM_THREADS {threads}" if threads else "")
    return "ok", said, ""


def _torch(settings: Settings) -> tuple[Mark, str, str]:
    code = (
        "import torch; n = torch.cuda.device_count(); print(torch.__version__, "
        "'cuda: ' + ', '.join(torch.cuda.get_device_name(i) for i in range(n)) if n else "
        "'no CUDA device: trials run on the processor')"
    )
    return _imports(code, "install torch again: make setup, with TORCH_INDEX for CUDA builds")


def _ray(settings: Settings) -> tuple[Mark, str, str]:
    code = "import ray, ray.tune; print(ray.__version__)"
    return _imports(code, "install ray again, or run with --runner inprocess")


def _imports(code: str, todo: str) -> tuple[Mark, str, str]:
    """In a process of its own: a broken library may take its process down."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return "problem", f"not imported within {IMPORT_TIMEOUT_S:g} s", todo
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return "problem", last[0], todo
    return "ok", done.stdout.strip().splitlines()[-1], ""


CHECKS: tuple[Check, ...] = (
    Check("python", _python),
    Check("packages", _packages),
    Check("home", _home),
    Check("database", _database),
    Check("store", _store),
    Check("datasets", _data),
    Check("templates", _templates),
    Check("processors", _processors),
    Check("torch", _torch),
    Check("ray", _ray),
)
