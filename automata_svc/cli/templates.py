"""`automata templates ls|cp|check`: training programs to read, run and make yours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import output_option
from automata_svc.cli.world import world_of
from automata_svc.errors import Conflict, NotFound
from automata_svc.results import figures as fig
from automata_svc.trials.templates import (
    Template,
    broken_templates,
    find_template,
    list_templates,
)


@click.group(
    name="templates",
    epilog=examples(
        ("automata templates ls", "what there is"),
        ("automata templates cp tabular_mlp ./mine.py", "make one yours"),
        ("automata templates check ./mine.py", "all mistakes, or what it declares"),
    ),
)
def command() -> None:
    """List, copy and check training programs."""


@command.command(
    name="ls",
    epilog=examples(
        ("automata templates ls", "names, what they train, their parameters"),
        ("automata templates ls -o json", "with types and defaults"),
    ),
)
@output_option
@click.pass_context
def ls(ctx: click.Context, form: str) -> None:
    """List templates: those of AUTOMATA_TEMPLATE_DIRS first, then those that come along."""
    world = world_of(ctx)
    found = list_templates(world.settings)
    if form != "table":
        world.say_data([_as_data(template) for template in found], form)
    else:
        longest = max((len(template.name) for template in found), default=0)
        for template in found:
            world.say(f"{template.name.ljust(longest)}  {template.summary}")
            names = ", ".join(param.name for param in template.params)
            for line in fig.wrapped(names, world.width, indent=" " * (longest + 2)):
                world.say(line)
    for broken in broken_templates(world.settings):
        world.note(f"not usable: {broken.error}")


@command.command(
    name="cp",
    epilog=examples(
        ("automata templates cp tabular_mlp ./mine.py", "then edit it"),
        ("automata templates cp tabular_mlp ./mine.py --force", "over what is there"),
    ),
)
@click.argument("name")
@click.argument("to", type=click.Path(path_type=Path), metavar="FILE.py")
@click.option("--force", is_flag=True, help="Overwrite FILE.py.")
@click.pass_context
def cp(ctx: click.Context, name: str, to: Path, force: bool) -> None:
    """Copy template NAME to FILE.py, to be edited and used as `template: ./FILE.py`."""
    world = world_of(ctx)
    template = find_template(name, world.settings)
    target = to / f"{template.name}.py" if to.is_dir() else to
    if target.suffix != ".py":
        raise click.UsageError(f"'{target}': a template is a Python file; name it {target}.py", ctx)
    if target.exists() and not force:
        raise Conflict(f"{target} exists; name another file, or add --force to overwrite it")
    if not target.parent.is_dir():
        raise NotFound(f"{target}: there is no folder {target.parent}")
    target.write_text(template.text, encoding="utf-8")
    shown = target if target.is_absolute() else Path(f"./{target}")
    world.say(f"copied {template.name} to {target}; edit it, then:")
    world.say(f"  automata templates check {target}")
    world.say(f"  automata tune JOB.yaml --set trial.template={shown}")


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


def _as_data(template: Template) -> dict[str, object]:
    return {
        "name": template.name,
        "path": template.path,
        "summary": template.summary,
        "sha256": template.sha256,
        "params": [asdict(param) for param in template.params],
        "own_schedule": template.own_schedule,
    }
