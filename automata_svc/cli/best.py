"""`automata best JOB`: the configuration, and its model in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.options import job_argument, output_option
from automata_svc.cli.world import world_of
from automata_svc.errors import Conflict
from automata_svc.results import figures as fig


@click.command(
    name="best",
    epilog=examples(
        ("automata best letter-mlp", "the best configuration and its confirmed values"),
        ("automata best letter-mlp -o json", "for a script"),
        ("automata best letter-mlp --save ./best", "its model, parameters and an example"),
    ),
)
@job_argument
@click.option(
    "--save",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write model.pt, params.json, the template and an example that loads them.",
)
@output_option
@click.pass_context
def command(ctx: click.Context, job: str, folder: Path | None, form: str) -> None:
    """Show the best configuration: confirmed, or the best so far."""
    world = world_of(ctx)
    row = world.service.find(job)
    whole = world.service.result(row.id)
    found = whole["best"]
    if found is None:
        raise Conflict(f"{row.id} has no trial with a usable value yet: {row.state}, {row.reason}")
    files = [str(path) for path in world.service.save_best(row.id, folder)] if folder else []
    if form != "table":
        world.say_data({"job_id": row.id, **found, "files": files}, form)
        return
    lines = [("trial", str(found["trial"]))]
    lines += [(name, fig.parameter(value)) for name, value in sorted(found["params"].items())]
    confirmed = found["confirmed"]
    if confirmed is not None:
        values = {**confirmed["val"], **confirmed["test"]}
        lines += [(name, fig.metric(value)) for name, value in values.items()]
    lines.append((f"{whole['metric']} in the search", fig.metric(found["search_metric"])))
    lines.append(("how", found["how"]))
    for line in fig.table(lines, indent=""):
        world.say(line)
    if files:
        world.say(f"written to {folder}: {', '.join(Path(name).name for name in files)}")
