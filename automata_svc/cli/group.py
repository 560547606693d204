"""A group of commands that names those it has where an unknown one is asked for."""

from __future__ import annotations

import click

from automata_svc.errors import unknown


class Group(click.Group):
    """As click's, but for what it says of a name that it does not know."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], known), ctx)
        return super().resolve_command(ctx, args)
