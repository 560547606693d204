"""`automata trials JOB`: one line per trial, the furthest first."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument, output_option
from automata_svc.cli.world import world_of
from automata_svc.results import figures as fig


@click.command(
    name="trials",
    epilog=examples(
        ("automata trials letter-mlp", "the furthest first, then the best"),
        ("automata trials letter-mlp --top 5", "only the first five"),
        ("automata trials letter-mlp -o json", "with all values and parameters"),
        ("automata why letter-mlp 7", "why trial 7 stands where it stands"),
    ),
)
@job_argument
@click.option("--top", type=click.IntRange(min=1), help="Only the first N.")
@output_option
@click.pass_context
def command(ctx: click.Context, job: str, top: int | None, form: str) -> None:
    """List a job's trials, by rung, then metric."""
    world = world_of(ctx)
    found = world.service.find(job)
    rows = world.service.trials(found.id, top)
    if form != "table":
        world.say_data(rows, form)
        return
    if not rows:
        world.note(f"{found.id} has no trials yet ({found.state})")
        return
    metric = world.service.spec(found.id)["spec"]["objective"]["metric"]
    names = sorted({name for row in rows for name in row["params"]})
    head = ["TRIAL", "STATE", "RUNG", "SHARE", metric, "LOSS", "PRICE", *names, "REASON"]
    lines = [
        [
            str(row["number"]),
            row["state"],
            str(row["rung"] or "–"),
            fig.share(row["share"]),
            fig.metric(row["metric"]),
            fig.metric(row["loss"]),
            fig.price(row["price"]),
            *(_shown(row["params"], name) for name in names),
            row["reason"],
        ]
        for row in rows
    ]
    if sys.stdout.isatty():
        _shorten_last(head, lines, world.width)
    world.say_table(head, lines, right=(0, 2, 3, 4, 5, 6))


def _shown(params: Mapping[str, Any], name: str) -> str:
    return fig.parameter(params[name]) if name in params else "–"


def _shorten_last(head: list[str], lines: list[list[str]], width: int) -> None:
    """Cuts the reasons so that a line fits the terminal; a pipe gets them whole."""
    used = sum(max(len(row[i]) for row in (head, *lines)) + 2 for i in range(len(head) - 1))
    room = max(12, width - used)
    for row in lines:
        if len(row[-1]) > room:
            row[-1] = row[-1][: room - 1] + "…"
