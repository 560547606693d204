"""`automata subsets ls|show`: stored model-free subsets, shared by trials and jobs."""

from __future__ import annotations

from dataclasses import asdict

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import output_option
from automata_svc.cli.world import world_of
from automata_svc.results import figures as fig


@click.group(
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
    ),
)
@output_option
@click.pass_context
def ls(ctx: click.Context, form: str) -> None:
    """List stored subsets, the newest first. A job that needs one again pays nothing for it."""
    from automata_svc.blobs import open_store
    from automata_svc.selection.artefacts import list_artefacts

    world = world_of(ctx)
    found = list_artefacts(open_store(world.settings.store_url))
    if form != "table":
        world.say_data([asdict(one) for one in found], form)
        return
    if not found:
        world.note(f"no stored subsets in {world.settings.store_url}; strategy milo stores some")
        return
    world.say_table(
        ("KEY", "STRATEGY", "DATASET", "ROWS", "ENCODER", "SEED", "BYTES", "TOOK", "MADE"),
        [
            (
                one.key[:12],
                one.request.strategy,
                one.dataset,
                f"{fig.count(one.request.size)} of {fig.count(one.n)}",
                one.request.encoder or "–",
                str(one.request.seed),
                fig.count(one.bytes),
                fig.seconds(one.seconds),
                one.created,
            )
            for one in found
        ],
        right=(3, 6),
    )


@command.command(
    name="show",
    epilog=examples(
        ("automata subsets show 3f2a", "by the beginning of its key"),
        ("automata subsets show 3f2a -o json", "for a script"),
    ),
)
@click.argument("key")
@output_option
@click.pass_context
def show(ctx: click.Context, key: str, form: str) -> None:
    """Say what a stored subset was made from, and what it holds."""
    from automata_svc.blobs import open_store
    from automata_svc.selection.artefacts import show as look_up

    world = world_of(ctx)
    one = look_up(open_store(world.settings.store_url), key)
    if form != "table":
        world.say_data(asdict(one), form)
        return
    asked = one.request
    rows = [
        ("key", one.key),
        ("dataset", f"{one.dataset} ({asked.dataset_digest[:16]})"),
        ("strategy", f"{asked.strategy}, version {asked.version}"),
        ("options", fig.parameters(asked.options) or "–"),
        ("encoder", asked.encoder or "–"),
        ("rows", f"{fig.count(asked.size)} of {fig.count(one.n)}"),
        ("seed", str(asked.seed)),
        *((f"array {name}", kind) for name, kind in sorted(one.arrays.items())),
        ("bytes", f"{fig.count(one.bytes)}, sha256 {one.sha256[:16]}"),
        ("made", f"{one.created}, in {fig.seconds(one.seconds)}"),
        ("with", fig.parameters(one.libraries)),
    ]
    for line in fig.table(rows, indent=""):
        world.say(line)
