"""`automata why JOB TRIAL`: the reason, with the table it was decided on."""

from __future__ import annotations

from dataclasses import asdict

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument, output_option
from automata_svc.cli.world import world_of
from automata_svc.results.result import plain
from automata_svc.results.text import explain


@click.command(
    name="why",
    epilog=examples(
        ("automata why letter-mlp 7", "its rung's table as it was then"),
        ("automata why letter-mlp 7 --short", "only what stood next to the cut"),
        ("automata why letter-mlp 7 -o json", "everything, for a script"),
    ),
)
@job_argument
@click.argument("trial", type=click.IntRange(min=0))
@click.option("--short", is_flag=True, help="Only the lines of the table next to the cut.")
@output_option
@click.pass_context
def command(ctx: click.Context, job: str, trial: int, short: bool, form: str) -> None:
    """Say why TRIAL of JOB was stopped, or stands where it stands.

    The whole table of its rung is rebuilt from the log, as it was when that was decided.
    """
    world = world_of(ctx)
    found = world.service.find(job)
    answer = world.service.why(found.id, trial)
    if form == "table":
        world.say_sections(explain(answer, world.width, whole=not short))
    else:
        world.say_data(plain(asdict(answer)), form)
