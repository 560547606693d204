"""`automata watch JOB`: look on while it runs."""

from __future__ import annotations

import click

from automata_svc.cli.driving import say_end
from automata_svc.cli.examples import examples
from automata_svc.cli.main import INTERRUPTED
from automata_svc.cli.options import job_argument, output_option, quiet_option
from automata_svc.cli.watching import watching
from automata_svc.cli.world import world_of


@click.command(
    name="watch",
    epilog=examples(
        ("automata watch letter-mlp", "until it is over; then its report"),
        ("automata watch letter-mlp -q -o json", "wait for it, then the report as JSON"),
        note="Ctrl-C looks away, and leaves the job as it is. Exit code 1: the job failed.",
    ),
)
@job_argument
@quiet_option
@output_option
@click.pass_context
def command(ctx: click.Context, job: str, quiet: bool, form: str) -> None:
    """Look on while JOB runs, wherever it does, and show its report at its end."""
    world = world_of(ctx)
    row = world.service.find(job)
    if world.service.runs_here and row.state == "QUEUED":
        world.note(f"it waits for somebody to run it: automata resume {row.id}")
    try:
        with watching(world, row.name, quiet) as watch:
            state = world.service.follow(row.id, watch)
    except KeyboardInterrupt:
        world.note(f"looked away; the job is as it was. Look again: automata watch {row.id}")
        ctx.exit(INTERRUPTED)
    say_end(ctx, world, row.id, state, form)
