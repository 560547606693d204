"""`automata show JOB`: its report, finished or not."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument, output_option
from automata_svc.cli.reporting import say_report
from automata_svc.cli.world import world_of


@click.command(
    name="show",
    epilog=examples(
        ("automata show letter-mlp", "the report, so far or final"),
        ("automata show letter-mlp -o json", "everything, as stable JSON"),
        ("automata show letter-mlp --spec -o yaml", "the job file with every default"),
    ),
)
@job_argument
@click.option(
    "--spec", "as_spec", is_flag=True, help="The job file as submitted, defaults filled in."
)
@output_option
@click.pass_context
def command(ctx: click.Context, job: str, as_spec: bool, form: str) -> None:
    """Show a job's report: what was found, at what price, and why trials were stopped."""
    world = world_of(ctx)
    found = world.service.find(job)
    if as_spec:
        spec = world.service.spec(found.id)
        world.say_data(dict(spec), "yaml" if form == "table" else form)
    else:
        say_report(world, world.service.result(found.id), form)
