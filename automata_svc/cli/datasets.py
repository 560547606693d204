"""`automata datasets ls|show|push`: what a job can name, and what a file looks like when read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.group import Group
from automata_svc.cli.options import output_option, where_options
from automata_svc.cli.pushing import found, http_of, listed, project_option, push
from automata_svc.cli.world import world_of
from automata_svc.results import figures as fig
from automata_svc.spec.bundle import looks_like_ref


@click.group(
    cls=Group,
    name="datasets",
    epilog=examples(
        ("automata datasets ls", "names, and where they were found"),
        ("automata datasets show letter", "its splits and what is done to it"),
        ("automata datasets show ./mine.csv --target label", "a file of yours"),
        ("automata datasets push ./mine.csv --target label", "bring it to a server"),
    ),
)
def command() -> None:
    """List datasets, look at one, and push one."""


@command.command(
    name="ls",
    epilog=examples(
        ("automata datasets ls", "those that a job can name"),
        ("AUTOMATA_DATA_DIRS=~/data automata datasets ls", "with a folder of yours"),
        ("automata datasets ls --server URL", "a server's, and those that were pushed to it"),
    ),
)
@output_option
@where_options
@project_option
@click.pass_context
def ls(ctx: click.Context, form: str, project: str | None) -> None:
    """List the datasets that a job can name."""
    from automata_svc.datasets.sources import list_datasets

    world = world_of(ctx)
    http = http_of(world)
    if http is not None:
        items = list(listed(http, "/v1/datasets", project))
        if form != "table":
            world.say_data(items, form)
            return
        cells = [
            (one["ref"], "here" if one["is_here"] else "not here", one["about"]) for one in items
        ]
        world.say_table(("NAME", "", "ABOUT"), cells)
        return
    here = list_datasets(world.settings)
    if form != "table":
        world.say_data([asdict(one) for one in here], form)
        return
    rows = [
        (one.name, one.kind, "here" if one.found is not None else "not here", one.about)
        for one in here
    ]
    for line in fig.fitted([("NAME", "KIND", "", "ABOUT"), *rows], world.width, indent=""):
        world.say(line)
    for one in (one for one in here if one.found is None):
        for line in fig.wrapped(f"{one.name}: {one.get}", world.width, indent="", hanging="  "):
            world.note(line)


@command.command(
    name="push",
    short_help="Bring a dataset to a server.",
    epilog=examples(
        ("automata datasets push ./mine.csv --target label", "prints what a job says"),
        ("automata datasets push ./mine.npz --test ./test.npz", "with a test file"),
        note="`automata tune` pushes what a job names by path by itself.",
    ),
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--target", help="csv: the column to predict; jsonl: the label's field.")
@click.option("--test", type=click.Path(path_type=Path), help="A file with the test rows.")
@click.option("--val", type=click.Path(path_type=Path), help="A file with the validation rows.")
@click.option("--name", help="What it is called there. Default: the file's name.")
@project_option
@where_options
@output_option
@click.pass_context
def push_command(
    ctx: click.Context,
    file: Path,
    target: str | None,
    test: Path | None,
    val: Path | None,
    name: str | None,
    project: str | None,
    form: str,
) -> None:
    """Bring a dataset to a server; an interrupted push goes on when it is said again."""
    world = world_of(ctx)
    push(world, "dataset", file, name, project, form, target=target, test=test, val=val)


@command.command(
    name="show",
    short_help="Read and check a dataset; say how it would be split.",
    epilog=examples(
        ("automata datasets show letter", "by name"),
        ("automata datasets show ./mine.csv --target label", "by path"),
        ("automata datasets show ./mine.npz --test ./test.npz", "with a test file"),
        ("automata datasets show mine@SHA256 --server URL", "one that was pushed"),
    ),
)
@click.argument("dataset", metavar="NAME|FILE")
@click.option("--target", help="csv: the column to predict; jsonl: the label's field.")
@click.option("--test", help="A file with the test rows.")
@click.option("--val", help="A file with the validation rows.")
@project_option
@where_options
@output_option
@click.pass_context
def show(
    ctx: click.Context,
    dataset: str,
    target: str | None,
    test: str | None,
    val: str | None,
    project: str | None,
    form: str,
) -> None:
    """Read and check a dataset, and say how it would be split and prepared.

    A name is a server's where there is one; a file is always this machine's.
    """
    from automata_svc.datasets import Shape
    from automata_svc.datasets.load import describe

    world = world_of(ctx)
    given = {key: one for key, one in (("target", target), ("test", test), ("val", val)) if one}
    is_path = "/" in dataset or ("." in dataset and not looks_like_ref(dataset))
    http = None if is_path or given else http_of(world)
    if http is not None:
        shape = Shape(**found(http, "/v1/datasets", dataset, project))
    else:
        shape = describe({"path" if is_path else "name": dataset, **given}, world.settings)
    if form != "table":
        world.say_data(asdict(shape), form)
        return
    names = ", ".join(shape.class_names[:12]) + (" …" if len(shape.class_names) > 12 else "")
    rows = [
        ("kind", shape.kind),
        ("training rows", fig.count(shape.n_train)),
        ("validation rows", fig.count(shape.n_val)),
        ("test rows", fig.count(shape.n_test)),
        ("features", fig.count(shape.n_features)),
        ("classes", f"{shape.n_classes} ({names})" if names else str(shape.n_classes)),
        ("digest", shape.digest[:16]),
    ]
    if shape.vocabulary:
        rows.insert(5, ("vocabulary", f"{fig.count(shape.vocabulary)} tokens"))
    world.say(shape.name)
    for line in fig.fitted(rows, world.width):
        world.say(line)
    for note in shape.notes:
        for line in fig.wrapped(note, world.width, indent="  - "):
            world.say(line)
