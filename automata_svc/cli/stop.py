"""`automata stop JOB`: end it for good."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument
from automata_svc.cli.world import world_of


@click.command(
    name="stop",
    epilog=examples(
        ("automata stop letter-mlp --reason 'wrong dataset'", "the reason stays with the job"),
        ("automata pause letter-mlp", "if it is to go on later"),
    ),
)
@job_argument
@click.option("--reason", default="", help="Kept with the job and each of its trials.")
@click.pass_context
def command(ctx: click.Context, job: str, reason: str) -> None:
    """End a job for good. What it found so far can still be looked at."""
    world = world_of(ctx)
    found = world.service.find(job)
    world.service.stop(found.id, reason)
    now = world.service.find(found.id)
    done = "is stopped" if now.state == "CANCELLED" else "is asked to stop"
    world.say(f"{found.id} {done}; what it found: automata show {found.id}")
