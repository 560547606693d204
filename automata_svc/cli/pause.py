"""`automata pause JOB`: let go of its slots, keep everything."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument
from automata_svc.cli.world import world_of


@click.command(
    name="pause",
    epilog=examples(
        ("automata pause letter-mlp", "its driver sees it within a second"),
        ("automata resume letter-mlp", "go on later"),
    ),
)
@job_argument
@click.option("--reason", default="", help="Kept with the job.")
@click.pass_context
def command(ctx: click.Context, job: str, reason: str) -> None:
    """Let a running job go to sleep; `automata resume` goes on with it."""
    world = world_of(ctx)
    found = world.service.find(job)
    world.service.pause(found.id, reason)
    now = world.service.find(found.id)
    done = "is paused" if now.state == "PAUSED" else "is asked to pause"
    world.say(f"{found.id} {done}; go on with: automata resume {found.id}")
