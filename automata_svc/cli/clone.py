"""`automata clone JOB`: the same job file again, with changes."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument, set_option
from automata_svc.cli.world import world_of


@click.command(
    name="clone",
    epilog=examples(
        ("automata clone letter-mlp --set search.seed=1", "with another seed"),
        ("automata clone letter-mlp --name letter-again --set budget.price=5", "named anew"),
    ),
)
@job_argument
@click.option("--name", help="Of the new job. Default: the same.")
@set_option
@click.pass_context
def command(ctx: click.Context, job: str, name: str | None, sets: tuple[str, ...]) -> None:
    """Submit JOB's file again, with changes, and say the new job's id."""
    world = world_of(ctx)
    made = world.service.clone(world.service.find(job).id, sets, name)
    world.say(made)
    verb = "resume" if world.service.runs_here else "watch"
    world.note(f"go on with: automata {verb} {made}")
