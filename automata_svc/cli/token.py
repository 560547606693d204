"""`automata token create|ls|revoke`: who may talk to a service, and what they may do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automata_svc.cli.examples import examples
from automata_svc.cli.group import Group
from automata_svc.cli.options import output_option, where_options
from automata_svc.cli.pushing import http_of
from automata_svc.cli.world import World, world_of
from automata_svc.errors import Problem, SpecError
from automata_svc.results import figures as fig
from automata_svc.spec.scopes import SCOPES

if TYPE_CHECKING:
    from automata_svc.client.tokens import RemoteTokens
    from automata_svc.jobs.token_desk import TokenDesk
    from automata_svc.spec.wire.tokens import Token

_SCOPES = "\n".join(f"  {name.ljust(12)}  {means}" for name, means in SCOPES.items())


@click.group(
    cls=Group,
    name="token",
    epilog=examples(
        ("automata token create ci --scope jobs:read --scope jobs:write", "for a program"),
        ("automata token create anna --project lang --scope admin", "all, in one project"),
        ("automata token ls", "which there are"),
        ("automata token revoke ci", "from now on it is worth nothing"),
        note="At a server, for those whose own token has the scope admin; without one on the "
        "database of AUTOMATA_DATABASE_URL, for those who operate the service.",
    ),
)
def command() -> None:
    """Make, list and revoke the tokens that a service lets in."""


@command.command(
    name="create",
    epilog=examples(
        ("automata token create ci --scope jobs:read --expires 90d", "printed once"),
        ("automata token create ci --scope admin --file ./token", "into a file of mode 0600"),
        ("automata token create ci --scope jobs:read --server URL", "of that server"),
    )
    + f"\n\n\b\nScopes:\n{_SCOPES}",
)
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="May be given again.")
@click.option("--project", help="The only project whose things it reaches; else every one.")
@click.option("--expires", metavar="TIME", help="From now on: 12h, 90d. Else never.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to put the secret, instead of printing it.",
)
@where_options
@output_option
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    scopes: tuple[str, ...],
    project: str | None,
    expires: str | None,
    file: Path | None,
    form: str,
) -> None:
    """Make a token. Its secret is shown this once: only a digest of it is stored."""
    from automata_svc.jobs.tokens import write_secret

    world = world_of(ctx)
    names = [part for scope in scopes for part in scope.split(",")]
    expires_in_s = None if expires is None else seconds(expires, "--expires")
    row = _desk(world).create(name, names, project, expires_in_s)
    if file is not None:
        write_secret(file.expanduser(), row.secret)
    if form != "table":
        said = {} if file is not None else {"secret": row.secret}
        world.say_data({**_data(row), **said}, form)
        return
    over = "never expires" if row.expires_at is None else f"expires in {expires}"
    where = "every project" if row.project is None else f"project {row.project}"
    world.note(f"token {row.id} ({row.name}): {' '.join(row.scopes)}; {where}; {over}")
    if file is not None:
        world.note(f"its secret is in {file}")
    else:
        world.say(row.secret)
        world.note("that is its secret, shown this once: AUTOMATA_TOKEN=… or --token-file")


@command.command(
    name="ls",
    epilog=examples(
        ("automata token ls", "those that are good"),
        ("automata token ls --all -o json", "expired and revoked ones as well"),
    ),
)
@click.option("--project", help="Only this project's.")
@click.option("--all", "everything", is_flag=True, help="Expired and revoked ones as well.")
@where_options
@output_option
@click.pass_context
def ls(ctx: click.Context, project: str | None, everything: bool, form: str) -> None:
    """List tokens, the newest first. No secrets: they are not stored."""
    world = world_of(ctx)
    now = time.time()
    rows = [row for row in _desk(world).ls(project) if everything or _state(row, now) == "good"]
    if form != "table":
        world.say_data([_data(row) for row in rows], form)
        return
    if not rows:
        world.note("no tokens; make one: automata token create NAME --scope jobs:read")
        return
    world.say_table(
        ("TOKEN", "NAME", "PROJECT", "SCOPES", "STATE", "MADE", "USED"),
        [
            (
                row.id,
                row.name,
                row.project or "every",
                " ".join(row.scopes),
                _state(row, now),
                f"{fig.seconds(max(0.0, now - row.created_at))} ago",
                "never"
                if row.last_used_at is None
                else f"{fig.seconds(max(0.0, now - row.last_used_at))} ago",
            )
            for row in rows
        ],
    )


@command.command(
    name="revoke",
    epilog=examples(
        ("automata token revoke ci", "by its name, where only one has it"),
        ("automata token revoke tok_01K0A8", "by the beginning of its id"),
    ),
)
@click.argument("token")
@where_options
@click.pass_context
def revoke(ctx: click.Context, token: str) -> None:
    """Make a token worth nothing, from the next request on."""
    world = world_of(ctx)
    row = _desk(world).revoke(token)
    world.say(f"{row.id} ({row.name}) is revoked")


def _desk(world: World) -> TokenDesk | RemoteTokens:
    """The tokens of the server that jobs are at, else of this machine's database."""
    http = http_of(world)
    if http is not None:
        from automata_svc.client.tokens import RemoteTokens

        return RemoteTokens(http)
    from automata_svc.database import open_database
    from automata_svc.jobs.tenancy import OPERATOR
    from automata_svc.jobs.token_desk import TokenDesk
    from automata_svc.jobs.tokens import Tokens

    database = world.closing.enter_context(open_database(world.settings.database_url))
    return TokenDesk(Tokens(database), OPERATOR)


def seconds(text: str, option: str) -> float:
    """A time as it is typed, 90d or 12h, in seconds.

    Raises:
        SpecError: it is none.
    """
    from pydantic_core import PydanticCustomError

    from automata_svc.spec.base import as_seconds

    try:
        return as_seconds(text)
    except PydanticCustomError as error:
        raise SpecError(Problem(option, error.message())) from None


def _state(row: Token, now: float) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and now >= row.expires_at else "good"


def _data(row: Token) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "scopes": list(row.scopes),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }
