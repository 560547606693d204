"""`automata doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import output_option, where_options
from automata_svc.cli.world import World, world_of
from automata_svc.errors import AutomataError
from automata_svc.results import figures as fig


class Ailing(AutomataError):
    """Something that a job needs does not work here."""


@click.command(
    name="doctor",
    epilog=examples(
        ("automata doctor", "exit code 0: jobs can run here"),
        ("automata doctor --replay letter-mlp", "derive every recorded decision again"),
        ("automata doctor -o json", "for a bug report"),
    ),
)
@click.option("--replay", "job", metavar="JOB", help="Derive this job's decisions again instead.")
@where_options
@output_option
@click.pass_context
def command(ctx: click.Context, job: str | None, form: str) -> None:
    """Check this installation; or, with --replay, that a job's log leads to its own decisions."""
    world = world_of(ctx)
    if job is not None:
        _replay(world, job, form)
    else:
        _check(world, form)


def _check(world: World, form: str) -> None:
    from automata_svc.cli.checks import CHECKS, run

    findings = []
    for check in CHECKS:
        found = run(check, world.settings)
        findings.append(found)
        if form == "table":
            head = f"{found.mark:8} {found.name:12} "
            for line in fig.wrapped(found.said, world.width, indent=head):
                world.say(line)
            if found.todo:
                for line in fig.wrapped(f"do: {found.todo}", world.width, " " * len(head)):
                    world.say(line)
    if form != "table":
        world.say_data([vars(found) for found in findings], form)
    problems = [found.name for found in findings if found.mark == "problem"]
    if problems:
        raise Ailing(f"jobs cannot run here as it is: {', '.join(problems)}")


def _replay(world: World, job: str, form: str) -> None:
    found = world.service.find(job)
    differences = world.service.replay(found.id)
    if form != "table":
        world.say_data({"job_id": found.id, "divergences": differences}, form)
    for line in differences if form == "table" else ():
        world.say(line)
    if differences:
        raise Ailing(
            f"{found.id}: {len(differences)} recorded decisions do not follow from the log"
        )
    if form == "table":
        count = sum(len(trial.decisions) for trial in world.service.state(found.id).trials)
        world.say(f"{found.id}: all {count} recorded decisions follow from the log")
