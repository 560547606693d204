"""`automata set JOB KEY=VALUE …`: change what may be changed of a submitted job."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument
from automata_svc.cli.world import world_of


@click.command(
    name="set",
    epilog=examples(
        ("automata set letter-mlp priority=80", "let it go before others"),
        ("automata set letter-mlp parallelism=4", "segments at a time; null: all free slots"),
        ("automata set letter-mlp labels.team=vision labels.old=null", "add and remove labels"),
        ("automata set letter-mlp retention.checkpoints=2d", "keep them for so long"),
    ),
)
@job_argument
@click.argument("assignments", metavar="KEY=VALUE…", nargs=-1, required=True)
@click.pass_context
def command(ctx: click.Context, job: str, assignments: tuple[str, ...]) -> None:
    """Change a submitted JOB: priority, queue, labels, parallelism, notify or retention.

    All of it or, where one is wrong, nothing. A running job gets more slots as they fall free, and
    gives slots back when a segment ends.
    """
    from automata_svc.spec.patch import parse_patch

    world = world_of(ctx)
    values = parse_patch(assignments)
    found = world.service.find(job)
    world.service.change(found.id, values)
    world.say(f"{found.id} is changed: {', '.join(assignments)}")
