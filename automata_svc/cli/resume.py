"""`automata resume JOB`: go on where a job was."""

from __future__ import annotations

import click

from automata_svc.cli.driving import drive_and_report
from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument, output_option, quiet_option, runner_option
from automata_svc.cli.world import world_of


@click.command(
    name="resume",
    epilog=examples(
        ("automata ls --state PAUSED", "what can be resumed"),
        ("automata resume letter-mlp", "by name"),
        ("automata resume job_01K", "by the beginning of an id"),
        note="Nothing that was decided changes; no trial falls behind its last checkpoint.",
    ),
)
@job_argument
@runner_option
@quiet_option
@output_option
@click.pass_context
def command(ctx: click.Context, job: str, runner: str, quiet: bool, form: str) -> None:
    """Go on with a job that was paused, interrupted or killed, to its report."""
    world = world_of(ctx)
    row = world.service.find(job)
    drive_and_report(ctx, world, row.id, row.name, runner, quiet, form)
