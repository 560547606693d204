"""How a command ends: an error in the user's words, an exit code, and a traceback kept for us."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from automata_svc.cli.main import INTERRUPTED
from automata_svc.cli.world import World, forget_stdout, world_of
from automata_svc.errors import AutomataError


@contextmanager
def ends_well(ctx: click.Context) -> Iterator[None]:
    """Turns what a command raises into a message on stderr and an exit code."""
    world = world_of(ctx)
    try:
        yield
    except KeyboardInterrupt:
        _say_interrupted(world, ctx)
    except AutomataError as error:
        if _came_of_an_interrupt(error):
            _say_interrupted(world, ctx)
        world.error(str(error))
        ctx.exit(error.exit_code)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except BrokenPipeError:  # the reader went away (`automata trials JOB | head`): nobody to tell
        forget_stdout()
        ctx.exit(0)
    except Exception as error:
        if _came_of_an_interrupt(error):
            _say_interrupted(world, ctx)
        world.error(_unexpected(world, error))
        ctx.exit(1)


def _say_interrupted(world: World, ctx: click.Context) -> NoReturn:
    world.note("interrupted")
    ctx.exit(INTERRUPTED)


def _came_of_an_interrupt(error: BaseException | None) -> bool:
    """Whether a library, or the tidying up, made another error of a Ctrl-C."""
    seen: set[int] = set()  # what is raised again while it is handled can be its own context
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _unexpected(world: World, error: Exception) -> str:
    """One line that names the file with the traceback (or the traceback where none is kept)."""
    text = "".join(traceback.format_exception(error))
    said = f"unexpected {type(error).__name__}: {_first_line(error)}"
    try:
        kept = _keep(world.settings.home / "logs", text)
    except OSError:
        return f"{said}\n{text}"
    return f"{said}; the traceback is in {kept}"


def _keep(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = folder / f"error-{stamp}-{os.getpid()}.log"
    command = " ".join(sys.argv)
    path.write_text(f"{command}\n\n{text}", encoding="utf-8")
    return path


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"
