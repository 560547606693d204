"""`automata submit JOB.yaml`: hand a job over, and do something else."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import file_argument, output_option, read_job, set_option
from automata_svc.cli.submitting import submitted
from automata_svc.cli.world import world_of


@click.command(
    name="submit",
    epilog=examples(
        ("automata submit job.yaml", "its id; a server starts it when there is room"),
        ("automata submit job.yaml --set priority=80", "before others"),
        ("automata watch letter-mlp", "look at it as it runs"),
        note="Template, data and code that the file names by path are sent along, by content.",
    ),
)
@file_argument
@set_option
@output_option
@click.pass_context
def command(ctx: click.Context, file: str, sets: tuple[str, ...], form: str) -> None:
    """Store the job that JOB.yaml describes, to be run by a server, and say its id."""
    world = world_of(ctx)
    text, source = read_job(file)
    job = submitted(world, text, source, sets)
    row = world.service.find(job)
    if form != "table":
        world.say_data({"job_id": job, "name": row.name, "state": row.state}, form)
        return
    world.say(job)
    if world.service.runs_here:
        world.note(f"{row.name} is stored here; no server runs it. Run it: automata resume {job}")
    else:
        world.note(f"{row.name}: {row.state}; look at it: automata watch {job}")
