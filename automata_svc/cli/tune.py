"""`automata tune JOB.yaml`: from a job file to its report."""

from __future__ import annotations

import click

from automata_svc.cli.driving import drive_and_report
from automata_svc.cli.examples import examples
from automata_svc.cli.options import (
    file_argument,
    output_option,
    quiet_option,
    read_job,
    runner_option,
    set_option,
)
from automata_svc.cli.submitting import submitted
from automata_svc.cli.world import World, world_of
from automata_svc.errors import SpecError
from automata_svc.jobs.protocol import JobRow


@click.command(
    name="tune",
    epilog=examples(
        ("automata tune job.yaml", "run it, watch it, read the report"),
        ("automata tune job.yaml --set budget.price=1.5", "the same for less"),
        ("automata tune job.yaml -o json > result.json", "the report as stable JSON"),
        ("automata tune job.yaml --runner inprocess", "one trial at a time, without Ray"),
        ("automata tune job.yaml --server URL", "there; Ctrl-C looks away and leaves it running"),
        note="Ctrl-C keeps everything; `automata resume JOB` goes on. Exit code 1: the job failed.",
    ),
)
@file_argument
@set_option
@runner_option
@quiet_option
@output_option
@click.pass_context
def command(
    ctx: click.Context, file: str, sets: tuple[str, ...], runner: str, quiet: bool, form: str
) -> None:
    """Run the search that JOB.yaml describes to its end, and show the report.

    The report goes to stdout, progress to stderr. `-` reads the job file from stdin.
    """
    world = world_of(ctx)
    text, source = read_job(file)
    job = submitted(world, text, source, sets, quiet)
    service = world.service
    row = service.find(job)
    world.note(f"{row.name}: {job}")
    _say_earlier(world, row)
    try:
        drive_and_report(ctx, world, job, row.name, runner, quiet, form)
    except SpecError as error:  # e.g. a trial that asks for more than this machine has
        if service.runs_here and service.find(job).state == "QUEUED":
            service.stop(job, f"it cannot run here: {error}")
        raise


def _say_earlier(world: World, row: JobRow) -> None:
    """That jobs of this name wait to be gone on with, where the user may have meant to."""
    named = world.service.jobs(project=row.project, name=row.name)
    others = [one for one in named if one.id != row.id and one.state in _UNFINISHED]
    if not others:
        return
    newest = others[0]
    which = f"{newest.id} ({newest.state}); `automata resume {newest.id}` goes on with it"
    if len(others) == 1:
        world.note(f"an earlier job of this name is unfinished: {which}. This is a new job.")
    else:
        world.note(
            f"{len(others)} earlier jobs of this name are unfinished, the newest: {which}. "
            "This is a new job; `automata ls` shows them."
        )


_UNFINISHED = frozenset({"QUEUED", "STARTING", "RUNNING", "PAUSED", "STOPPING"})
