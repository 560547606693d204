"""`automata templates ls|cp|check|push`: training programs to read, run and make yours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.group import Group
from automata_svc.cli.options import output_option, where_options
from automata_svc.cli.pushing import found, http_of, listed, project_option, push
from automata_svc.cli.world import World, world_of
from automata_svc.errors import Conflict, NotFound
from automata_svc.results import figures as fig
from automata_svc.trials.templates import (
    Template,
    broken_templates,
    find_template,
    is_path,
    list_templates,
)


@click.group(
    cls=Group,
    name="templates",
    epilog=examples(
        ("automata templates ls", "what there is"),
        ("automata templates cp tabular_mlp ./mine.py", "make one yours"),
        ("automata templates check ./mine.py", "all mistakes, or what it declares"),
        ("automata templates push ./mine.py", "bring one to a server"),
    ),
)
def command() -> None:
    """List, copy, check and push training programs."""


@command.command(
    name="ls",
    short_help="List templates: yours, and those that come along.",
    epilog=examples(
        ("automata templates ls", "names, what they train, their parameters"),
        ("automata templates ls -o json", "with types and defaults"),
        ("automata templates ls --server URL", "a server's, and those that were pushed to it"),
    ),
)
@output_option
@where_options
@project_option
@click.pass_context
def ls(ctx: click.Context, form: str, project: str | None) -> None:
    """List templates: those of AUTOMATA_TEMPLATE_DIRS first, then those that come along."""
    world = world_of(ctx)
    http = http_of(world)
    if http is not None:
        items = list(listed(http, "/v1/templates", project))
        if form != "table":
            world.say_data(items, form)
        else:
            _say(world, [(one["ref"], one["summary"], one["params"]) for one in items])
        return
    here = list_templates(world.settings)
    if form != "table":
        world.say_data([_as_data(template) for template in here], form)
    else:
        _say(world, [(one.name, one.summary, _as_data(one)["params"]) for one in here])
    for broken in broken_templates(world.settings):
        world.note(f"not usable: {broken.error}")


def _say(world: World, rows: Sequence[tuple[str, str, Any]]) -> None:
    """Name, what it trains, its parameters; a name with a digest has a line of its own."""
    longest = max((len(name) for name, _, _ in rows if "@" not in name), default=0)
    for name, summary, params in rows:
        if len(name) > longest:
            world.say(name)
            world.say(f"{' ' * longest}  {summary}")
        else:
            world.say(f"{name.ljust(longest)}  {summary}")
        names = ", ".join(param["name"] for param in params)
        for line in fig.wrapped(names, world.width, indent=" " * (longest + 2)):
            world.say(line)


@command.command(
    name="cp",
    short_help="Copy a template, to be edited.",
    epilog=examples(
        ("automata templates cp tabular_mlp ./mine.py", "then edit it"),
        ("automata templates cp tabular_mlp ./mine.py --force", "over what is there"),
        ("automata templates cp NAME@SHA256 ./mine.py --server URL", "one that was pushed"),
    ),
)
@click.argument("name")
@click.argument("to", type=click.Path(path_type=Path), metavar="FILE.py")
@click.option("--force", is_flag=True, help="Overwrite FILE.py.")
@where_options
@project_option
@click.pass_context
def cp(ctx: click.Context, name: str, to: Path, force: bool, project: str | None) -> None:
    """Copy template NAME to FILE.py, to be edited and used as `template: ./FILE.py`."""
    world = world_of(ctx)
    called, text = _text(world, name, project)
    target = to / f"{called}.py" if to.is_dir() else to
    if target.suffix != ".py":
        raise click.UsageError(f"'{target}': a template is a Python file; name it {target}.py", ctx)
    if target.exists() and not force:
        raise Conflict(f"{target} exists; name another file, or add --force to overwrite it")
    if not target.parent.is_dir():
        raise NotFound(f"{target}: there is no folder {target.parent}")
    target.write_text(text, encoding="utf-8")
    shown = target if target.is_absolute() else Path(f"./{target}")
    world.say(f"copied {called} to {target}; edit it, then:")
    world.say(f"  automata templates check {target}")
    world.say(f"  automata tune JOB.yaml --set trial.template={shown}")


def _text(world: World, name: str, project: str | None) -> tuple[str, str]:
    """The name and the text of one that `ls` lists, or that lies in a file here."""
    http = None if is_path(name) else http_of(world)
    if http is not None:
        one = found(http, "/v1/templates", name, project)
        return one["name"], one["text"]
    template = find_template(name, world.settings)
    return template.name, template.text


@command.command(
    name="check",
    epilog=examples(
        ("automata templates check ./mine.py", "exit code 0: it can be used"),
        ("automata templates check tabular_mlp", "one that comes along"),
    ),
)
@click.argument("file", metavar="FILE.py")
@output_option
@click.pass_context
def check(ctx: click.Context, file: str, form: str) -> None:
    """Say every mistake in a template, or what it declares. Its code is read, not run."""
    world = world_of(ctx)
    template = find_template(file, world.settings)
    if form != "table":
        world.say_data(_as_data(template), form)
        return
    world.say(f"{template.path}: ok. {template.summary}")
    head = ("PARAMETER", "TYPE", "DEFAULT")
    rows = [(param.name, param.type, fig.parameter(param.default)) for param in template.params]
    world.say_table(head, rows)
    if template.own_schedule:
        world.say("OWN_SCHEDULE: its learning rate is left alone at the finish")


@command.command(
    name="push",
    epilog=examples(
        ("automata templates push ./mine.py", "to the server that jobs are at; prints its name"),
        ("automata templates push ./mine.py --name wide", "under another name"),
        note="`automata tune` pushes what a job names by path by itself.",
    ),
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.py")
@click.option("--name", help="What it is called there. Default: the file's name.")
@project_option
@where_options
@output_option
@click.pass_context
def push_command(
    ctx: click.Context, file: Path, name: str | None, project: str | None, form: str
) -> None:
    """Bring a template to a server. Its code is checked there, and run by jobs that name it."""
    world = world_of(ctx)
    find_template(f"./{file}" if not file.is_absolute() else str(file), world.settings)
    push(world, "template", file, name, project, form)


def _as_data(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "path": template.path,
        "summary": template.summary,
        "sha256": template.sha256,
        "params": [asdict(param) for param in template.params],
        "own_schedule": template.own_schedule,
    }
