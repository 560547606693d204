"""`automata logs JOB`: what its driver, or one of its trials, printed."""

from __future__ import annotations

from collections import deque

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument
from automata_svc.cli.world import World, world_of


@click.command(
    name="logs",
    epilog=examples(
        ("automata logs letter-mlp", "what its drivers said"),
        ("automata logs letter-mlp --trial 7", "what trial 7 printed"),
        ("automata logs letter-mlp --trial 7 -f", "and what it will print"),
        note="Ctrl-C ends -f, and leaves the job as it is; a server that restarts is waited for.",
    ),
)
@job_argument
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="This trial's lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N lines.")
@click.pass_context
def command(
    ctx: click.Context, job: str, trial: int | None, follow: bool, tail: int | None
) -> None:
    """Show what JOB's drivers, or one of its trials, printed; some seconds after they did."""
    world = world_of(ctx)
    row = world.service.find(job)
    after = shown = 0
    if not follow or tail is not None:
        after, shown = _show(world, row.id, trial, tail)
    if follow:
        for page in world.service.follow_logs(row.id, trial, after):
            for _, text in page:
                world.say(text)
            shown += len(page)
    if not shown:
        who = "its driver" if trial is None else f"trial {trial}"
        world.note(f"{row.id}: {who} has printed nothing that is kept")


def _show(world: World, job: str, trial: int | None, tail: int | None) -> tuple[int, int]:
    """Prints the lines that there are; the last one's number, and how many were printed."""
    kept: deque[str] = deque(maxlen=tail)
    after = shown = 0
    while page := world.service.logs(job, trial, after):
        after = page[-1][0]
        kept.extend(text for _, text in page)
        while tail is None and kept:
            world.say(kept.popleft())
            shown += 1
    for line in kept:
        world.say(line)
    return after, shown + len(kept)
