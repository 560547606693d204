"""`automata subsets ls|show`: stored model-free subsets, shared by trials and jobs."""

from __future__ import annotations

from dataclasses import asdict

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.group import Group
from automata_svc.cli.options import output_option, where_options
from automata_svc.cli.pushing import found, http_of, listed, project_option
from automata_svc.cli.world import world_of
from automata_svc.results import figures as fig


@click.group(
    cls=Group,
    name="subsets",
    epilog=examples(
        ("automata subsets ls", "what is stored"),
        ("automata subsets show 3f2a", "by the beginning of its key"),
    ),
)
def command() -> None:
    """List stored subsets, and look at one."""


@command.command(
    name="ls",
    epilog=examples(
        ("automata subsets ls", "the newest first"),
        ("automata subsets ls -o json", "whole keys, requests and libraries"),
        ("automata subsets ls --server URL", "those that your jobs there can read"),
    ),
)
@output_option
@where_options
@project_option
@click.pass_context
def ls(ctx: click.Context, form: str, project: str | None) -> None:
    """List stored subsets, the newest first. A job that needs one again pays nothing for it."""
    from automata_svc.blobs import open_store
    from automata_svc.selection.artefacts import list_artefacts

    world = world_of(ctx)
    http = http_of(world)
    if http is not None:
        place = http.url
        items = list(listed(http, "/v1/subsets", project))
        data = items
    else:
        place = world.settings.store_url
        data = [asdict(one) for one in list_artefacts(open_store(place))]
        items = [{**one, **one["request"]} for one in data]
    if form != "table":
        world.say_data(data, form)
        return
    if not items:
        world.note(f"no stored subsets in {place}; strategy milo stores some")
        return
    world.say_table(
        ("KEY", "STRATEGY", "DATASET", "ROWS", "ENCODER", "SEED", "BYTES", "TOOK", "MADE"),
        [
            (
                one["key"][:12],
                one["strategy"],
                one["dataset"],
                f"{fig.count(one['size'])} of {fig.count(one['n'])}",
                one["encoder"] or "–",
                str(one["seed"]),
                fig.count(one["bytes"]),
                fig.seconds(one["seconds"]),
                one["created"],
            )
            for one in items
        ],
        right=(3, 6),
    )


@command.command(
    name="show",
    epilog=examples(
        ("automata subsets show 3f2a", "by the beginning of its key"),
        ("automata subsets show 3f2a -o json", "for a script"),
        ("automata subsets show 3f2a --server URL", "one that your jobs there can read"),
    ),
)
@click.argument("key")
@output_option
@where_options
@project_option
@click.pass_context
def show(ctx: click.Context, key: str, form: str, project: str | None) -> None:
    """Say what a stored subset was made from, and what it holds."""
    from automata_svc.blobs import open_store
    from automata_svc.selection.artefacts import show as look_up

    world = world_of(ctx)
    http = http_of(world)
    if http is not None:
        one = data = found(http, "/v1/subsets", key, project)
    else:
        data = asdict(look_up(open_store(world.settings.store_url), key))
        one = {**data, **data["request"]}
    if form != "table":
        world.say_data(data, form)
        return
    digest = f", sha256 {one['sha256'][:16]}" if "sha256" in one else ""
    rows = [
        ("key", one["key"]),
        ("dataset", f"{one['dataset']} ({one['dataset_digest'][:16]})"),
        ("strategy", f"{one['strategy']}, version {one['version']}"),
        ("options", fig.parameters(one["options"]) or "–"),
        ("encoder", one["encoder"] or "–"),
        ("rows", f"{fig.count(one['size'])} of {fig.count(one['n'])}"),
        ("seed", str(one["seed"])),
        *((f"array {name}", kind) for name, kind in sorted(one["arrays"].items())),
        ("bytes", f"{fig.count(one['bytes'])}{digest}"),
        ("made", f"{one['created']}, in {fig.seconds(one['seconds'])}"),
        ("with", fig.parameters(one["libraries"])),
    ]
    for line in fig.table(rows, indent=""):
        world.say(line)
