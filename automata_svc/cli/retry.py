"""`automata retry JOB`: a failed or cancelled job again."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument
from automata_svc.cli.world import world_of


@click.command(
    name="retry",
    epilog=examples(
        ("automata ls --state FAILED", "what could be tried again"),
        ("automata retry letter-mlp", "as a new job; or now, where it waits after a failure"),
    ),
)
@job_argument
@click.pass_context
def command(ctx: click.Context, job: str) -> None:
    """Try a failed or cancelled JOB again, as a new one: the same, however often it is asked for.

    One that waits after a failed driver starts now.
    """
    world = world_of(ctx)
    found = world.service.find(job).id
    made = world.service.retry(found)
    world.say(made)
    verb = "resume" if world.service.runs_here else "watch"
    world.note(f"go on with: automata {verb} {made}")
