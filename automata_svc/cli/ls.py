"""`automata ls`: all jobs of this home."""

from __future__ import annotations

import time
from typing import Any

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import output_option, where_options
from automata_svc.cli.world import world_of
from automata_svc.errors import UnknownName
from automata_svc.results import figures as fig
from automata_svc.tuning.state import JOB_MOVES


@click.command(
    name="ls",
    epilog=examples(
        ("automata ls", "all jobs, the newest first"),
        ("automata ls --state PAUSED", "those that wait to be resumed"),
        ("automata ls -o json", "for a script"),
    ),
)
@click.option("--state", metavar="STATE", help=f"One of {', '.join(JOB_MOVES)}.")
@click.option("--project", help="Only this project's.")
@where_options
@output_option
@click.pass_context
def command(ctx: click.Context, state: str | None, project: str | None, form: str) -> None:
    """List jobs, the newest first."""
    world = world_of(ctx)
    if state is not None and state.upper() not in JOB_MOVES:
        raise UnknownName("job state", state, JOB_MOVES, pointer="--state")
    rows = world.service.jobs(project=project, state=state.upper() if state else None)
    rows = sorted(rows, key=lambda row: (-row.created_at, row.id))
    if form != "table":
        world.say_data([{**vars(row), "summary": dict(row.summary)} for row in rows], form)
        return
    if not rows:
        which = " like that" if state or project else ""
        world.note(f"no jobs{which} at {world.service.place}; start one: automata tune JOB.yaml")
        return
    now = time.time()
    world.say_table(
        ("JOB", "NAME", "STATE", "TRIALS", "BEST", "PRICE", "AGE"),
        [
            (
                row.id,
                row.name,
                row.state,
                f"{row.summary.get('proposed', 0)}/{row.trials}",
                _best(row.summary.get("best")),
                fig.price(row.summary.get("price", 0.0)),
                fig.seconds(max(0.0, now - row.created_at)),
            )
            for row in rows
        ],
        right=(3, 4, 5),
    )
    for row in rows:
        if row.summary.get("waiting"):
            world.note(f"{row.id} waits: {row.summary['waiting']}")


def _best(best: Any) -> str:
    value = best.get("value") if isinstance(best, dict) else best
    return fig.metric(value) if isinstance(value, int | float) else "–"
