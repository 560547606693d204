"""`automata serve`: the whole service on this machine, or a part of it."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.serving import PORT, ROLES, Plan, Serving, log_to_stderr
from automata_svc.cli.world import world_of


@click.command(
    name="serve",
    epilog=examples(
        ("automata serve", "API, controller, database and Ray on this machine"),
        ("automata serve --port 8080", "on this port, or not at all"),
        ("automata serve --role api", "one of several replicas, on the cluster of RAY_ADDRESS"),
        note="Nothing is lost by ending it, or killing it: it finds its jobs and drivers again.",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Default: {PORT}, else the last one here, or a free one. 0: a free one.",
)
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="all",
    show_default=True,
    help="What this process does of it: answer requests, look after jobs, or both.",
)
@click.option(
    "--cpus", type=click.IntRange(min=1), help="Of its own Ray. Default: all that it may use."
)
@click.option("--keep-ray", is_flag=True, help="At the end, leave its Ray and the drivers at work.")
@click.option(
    "--recycle-after",
    type=click.IntRange(min=1),
    metavar="TRIALS",
    help="That one driver proposes before the next takes over. Default: 2,000.",
)
@click.option(
    "--give-up-after",
    type=click.IntRange(min=1),
    metavar="DRIVERS",
    help="That end one after the other and achieve nothing: then their job has failed. Default: 5.",
)
@click.pass_context
def command(
    ctx: click.Context,
    host: str,
    port: int | None,
    role: str,
    cpus: int | None,
    keep_ray: bool,
    recycle_after: int | None,
    give_up_after: int | None,
) -> None:
    """Serve jobs: `automata tune --server`, `submit`, `watch` and the REST API.

    Without settings all of it is on this machine: SQLite and files in AUTOMATA_HOME, a Ray of its
    own, reachable from this machine only. AUTOMATA_DATABASE_URL, AUTOMATA_STORE_URL and RAY_ADDRESS
    name other places.
    """
    world = world_of(ctx)
    log_to_stderr()
    plan = Plan(host, port, role, cpus, keep_ray, recycle_after, give_up_after)
    Serving(world.settings, plan, world.note, world.env).run()
