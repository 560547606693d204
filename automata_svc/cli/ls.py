"""`automata ls`: the newest jobs of this home, or of a server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import output_option, where_options
from automata_svc.cli.world import World, world_of
from automata_svc.errors import UnknownName
from automata_svc.results import figures as fig
from automata_svc.tuning.state import JOB_MOVES

if TYPE_CHECKING:
    from automata_svc.jobs.protocol import JobRow


NEWEST = 50  # guess: what fits onto a screen or two


@click.command(
    name="ls",
    epilog=examples(
        ("automata ls", "the newest 50 jobs"),
        ("automata ls --all", "every job there is"),
        ("automata ls --state PAUSED", "those that wait to be resumed"),
        ("automata ls -o json", "for a script"),
    ),
)
@click.option("--state", metavar="STATE", help=f"One of {', '.join(JOB_MOVES)}.")
@click.option("--project", help="Only this project's.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=NEWEST,
    show_default=True,
    metavar="N",
    help="Only the newest N; 0: all.",
)
@click.option("--all", "everything", is_flag=True, help="All of them, as --limit 0.")
@where_options
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    state: str | None,
    project: str | None,
    limit: int,
    everything: bool,
    form: str,
) -> None:
    """List jobs, the newest first."""
    world = world_of(ctx)
    if state is not None and state.upper() not in JOB_MOVES:
        raise UnknownName("job state", state, JOB_MOVES, pointer="--state")
    most = None if everything or limit == 0 else limit
    rows = world.service.jobs(
        project=project,
        state=state.upper() if state else None,
        limit=None if most is None else most + 1,  # one more says that there are more
    )
    more, rows = most is not None and len(rows) > most, rows[:most]
    if form != "table":
        world.say_data([{**vars(row), "summary": dict(row.summary)} for row in rows], form)
    elif rows:
        _say_table(world, rows)
    else:
        which = " like that" if state or project else ""
        world.note(f"no jobs{which} at {world.service.place}; start one: automata tune JOB.yaml")
    if more:
        world.note(f"the newest {most} jobs; there are older ones: --limit {2 * limit}, or --all")


def _say_table(world: World, rows: Sequence[JobRow]) -> None:
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
