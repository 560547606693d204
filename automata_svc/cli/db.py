"""`automata db upgrade|check|gc`: the database of AUTOMATA_DATABASE_URL, and what it refers to."""

from __future__ import annotations

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.gc import command as gc
from automata_svc.cli.group import Group
from automata_svc.cli.options import output_option
from automata_svc.cli.world import world_of
from automata_svc.errors import AutomataError, Unavailable

UPGRADE = "automata db upgrade"


class Outdated(AutomataError):
    """The tables are not those that this version works with."""


@click.group(
    cls=Group,
    name="db",
    epilog=examples(
        (UPGRADE, "before the first start of a service on PostgreSQL, and after updates"),
        ("automata db check", "exit code 0: nothing is to be done"),
        ("automata db gc --dry-run", "what nobody is to have any more"),
        note="A database of SQLite is made and upgraded by whatever opens it.",
    ),
)
def command() -> None:
    """Make, upgrade and check the tables of the database; collect what nobody is to have."""


command.add_command(gc)


@command.command(
    name="upgrade",
    epilog=examples((UPGRADE, "again, and nothing happens"))
    + "\n\nIn one transaction: it is done, or nothing has changed. Keep a backup all the same.",
)
@output_option
@click.pass_context
def upgrade(ctx: click.Context, form: str) -> None:
    """Make the tables, or bring them up to date."""
    from automata_svc.database.upgrade import upgrade_database

    world = world_of(ctx)
    before, now = upgrade_database(world.settings.database_url)
    if form != "table":
        world.say_data({"before": before, "now": now}, form)
    elif before is None:
        world.say(f"made (schema {now})")
    elif before == now:
        world.say(f"up to date already (schema {now})")
    else:
        world.say(f"upgraded: schema {before} → {now}")


@command.command(name="check", epilog=examples(("automata db check -o json", "for a script")))
@output_option
@click.pass_context
def check(ctx: click.Context, form: str) -> None:
    """Say whether the tables are those of this version; change nothing."""
    from automata_svc.database.schema import VERSION
    from automata_svc.database.upgrade import check_database

    world = world_of(ctx)
    found, steps = check_database(world.settings.database_url)
    if form != "table":
        world.say_data({"found": found, "needed": VERSION, "differences": steps}, form)
    if found is None:
        raise Outdated(f"the database has no tables of ours yet: run `{UPGRADE}`")
    if found > VERSION:
        raise Unavailable(
            f"the database was made by a newer automata_svc (schema {found}; this one knows "
            f"{VERSION}): update this one"
        )
    if found < VERSION:
        raise Outdated(f"schema {found}, this version needs {VERSION}: run `{UPGRADE}`")
    if steps:
        raise Outdated(f"schema {found}, but somebody changed it:\n  - " + "\n  - ".join(steps))
    if form == "table":
        world.say(f"up to date (schema {found})")
