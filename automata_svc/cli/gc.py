"""`automata db gc`: takes away what nobody is to have any more, as a service does now and then."""

from __future__ import annotations

import time

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import output_option
from automata_svc.cli.world import world_of


@click.command(
    name="gc",
    short_help="Take away what nobody is to have any more.",
    epilog=examples(
        ("automata db gc --dry-run", "what would go, and why"),
        ("automata db gc", "jobs and checkpoints by their retention, and what belongs to nobody"),
        note="A subset that no job uses is condemned in one round and goes in a later one, after "
        "the grace, unless a job has asked for it in between.",
    ),
)
@click.option("--dry-run", is_flag=True, help="Say what would go; take nothing away.")
@click.option(
    "--grace",
    "grace",
    metavar="TIME",
    default="1h",
    show_default=True,
    help="How long what belongs to nobody is left alone; no less than a worker may be away.",
)
@click.option(
    "--unused",
    "unused",
    metavar="TIME",
    default="7d",
    show_default=True,
    help="How long a pushed template, dataset or code is kept that no job names.",
)
@click.option(
    "--unknown",
    is_flag=True,
    help="Also files of jobs that this database does not know: only where no other database uses "
    "the store.",
)
@output_option
@click.pass_context
def command(
    ctx: click.Context, dry_run: bool, grace: str, unused: str, unknown: bool, form: str
) -> None:
    """Take away what nobody is to have any more: jobs, checkpoints, logs, subsets, bundles, keys.

    Of a bundle that no job names the bytes go too where this database alone uses the store: in a
    home of its own, or with --unknown.
    """
    from automata_svc.blobs import open_store
    from automata_svc.cli.token import seconds
    from automata_svc.database import open_database
    from automata_svc.jobs.retention import Collector

    world = world_of(ctx)
    with open_database(world.settings.database_url) as database:
        collector = Collector(
            database,
            open_store(world.settings.store_url),
            world.settings,
            time.time,
            grace_s=seconds(grace, "--grace"),
            unused_s=seconds(unused, "--unused"),
            owns_store=True if unknown else None,
        )
        found = []
        for removal in collector.rounds(dry_run):
            found.append(removal)
            if form == "table":
                size = f", {removal.blobs} files, {_bytes(removal.bytes)}" if removal.blobs else ""
                world.say(f"{removal.kind:12} {removal.name}{size}: {removal.why}")
    if form != "table":
        world.say_data([one._asdict() for one in found], form)
        return
    gone = [one for one in found if one.kind != "condemned"]
    verb = "would go" if dry_run else "went"
    world.note(f"{len(gone)} things {verb}, {_bytes(sum(one.bytes for one in gone))}")


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1_000:
            break
        size, unit = size / 1_000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
