"""Options and arguments that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from automata_svc.cli.world import world_of
from automata_svc.errors import SpecError

Command = TypeVar("Command", bound=Callable[..., Any])

FORMS = ("table", "json", "yaml")


def output_option(function: Command) -> Command:
    """-o table|json|yaml."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(FORMS),
        default="table",
        show_default=True,
        help="How to print the answer; json is stable.",
    )(function)


def set_option(function: Command) -> Command:
    """--set a.b=c, as often as wanted."""
    return click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change the job file for this run, e.g. budget.trials=9; may be given again.",
    )(function)


def job_argument(function: Command) -> Command:
    """JOB: an id, the beginning of one, or a name; and where jobs are."""
    return click.argument("job", metavar="JOB")(where_options(function))


def file_argument(function: Command) -> Command:
    """JOB.yaml, or - for stdin; and where jobs are."""
    return click.argument("file", metavar="JOB.yaml")(where_options(function))


def where_options(function: Command) -> Command:
    """--server, --token-file, --local: where jobs are."""

    def keep(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
            if value:
                world = world_of(ctx)
                world.where = replace(world.where, **{field: value})

        return callback

    options = (
        click.option(
            "--server",
            metavar="URL",
            expose_value=False,
            callback=keep("server"),
            help="Jobs are at this server. Default: AUTOMATA_SERVER, or one that is live in "
            "AUTOMATA_HOME, else on this machine.",
        ),
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False, path_type=Path),
            expose_value=False,
            callback=keep("token_file"),
            help="Its token. Default: AUTOMATA_TOKEN, or the home's own for its own server.",
        ),
        click.option(
            "--local",
            is_flag=True,
            expose_value=False,
            callback=keep("local"),
            help="Jobs are on this machine, whatever server there is.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def runner_option(function: Command) -> Command:
    """--runner ray|inprocess."""
    return click.option(
        "--runner",
        type=click.Choice(("ray", "inprocess")),
        default="ray",
        show_default=True,
        help="What carries trials out; inprocess runs one at a time, without Ray.",
    )(function)


def quiet_option(function: Command) -> Command:
    """-q."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress.")(function)


def read_job(file: str) -> tuple[str, str]:
    """A job file's text and the name to call it by.

    Raises:
        SpecError: it cannot be read, with what would be right.
    """
    if file == "-":
        return sys.stdin.read(), "stdin"
    path = Path(file).expanduser()
    try:
        return path.read_text(encoding="utf-8"), file
    except FileNotFoundError:
        hint = ""
        beside = [
            near for ending in (".yaml", ".yml") if (near := path.with_suffix(ending)).is_file()
        ]
        if beside:
            hint = f"; did you mean {beside[0]}?"
        raise SpecError(f"job file '{file}': there is no such file{hint}") from None
    except IsADirectoryError:
        raise SpecError(f"job file '{file}' is a folder; name the YAML file in it") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"job file '{file}' is not UTF-8 text: {error.reason}") from None
    except OSError as error:
        raise SpecError(f"job file '{file}' cannot be read: {error.strerror}") from None
