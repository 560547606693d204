"""Taking a job to its end with something to look at: what `tune` and `resume` share."""

from __future__ import annotations

import click

from automata_svc.cli.main import INTERRUPTED
from automata_svc.cli.reporting import say_report
from automata_svc.cli.watching import watching
from automata_svc.cli.world import World
from automata_svc.errors import Unavailable
from automata_svc.results.result import result
from automata_svc.tuning.state import JobState

FAILED = 1
PAUSED = "PAUSED"


def drive_and_report(
    ctx: click.Context, world: World, job: str, name: str, runner: str, quiet: bool, form: str
) -> None:
    """Runs the job here, prints its report, and leaves with the job's exit code."""
    try:
        with watching(world, name, quiet) as watch:
            state = world.service.drive(job, watch, runner)
    except KeyboardInterrupt:
        _say_left(world, job)
        ctx.exit(INTERRUPTED)
    say_end(ctx, world, job, state, form)


def say_end(ctx: click.Context, world: World, job: str, state: JobState, form: str) -> None:
    """The report of a job that is over or paused, and its exit code."""
    if state.state == PAUSED:
        why = f": {state.halted}" if state.halted else ""
        world.note(f"paused{why}; everything is kept. Go on with: automata resume {job}")
    try:
        say_report(world, result(state, world.service.spec(job)), form)
    except Unavailable as error:
        said = f"job {job} {state.state.lower()} and is kept; automata show {job} shows its report"
        raise Unavailable(f"{error}; {said}") from error
    if state.halted:
        ctx.exit(FAILED)
    if state.state in ("FAILED", "CANCELLED"):
        world.error(f"job {job} {state.state.lower()}: {state.move.reason}")
        ctx.exit(FAILED)


def _say_left(world: World, job: str) -> None:
    if world.service.runs_here:
        world.note(f"interrupted; everything is kept. Go on with: automata resume {job}")
    else:
        world.note(
            f"looked away; the job goes on at the server. automata watch {job} looks again, "
            f"automata pause {job} lets it sleep, automata stop {job} ends it"
        )
