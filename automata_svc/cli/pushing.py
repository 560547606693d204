"""What `templates`, `datasets` and `subsets` share against a server: pushing, and its lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from automata_svc.cli.world import World
from automata_svc.errors import SpecError
from automata_svc.jobs.connecting import live_server
from automata_svc.spec.bundle import Kind

if TYPE_CHECKING:
    from automata_svc.client.http import Http

Command = TypeVar("Command", bound=Callable[..., Any])
PAGE = 500


def project_option(function: Command) -> Command:
    """--project NAME."""
    return click.option(
        "--project",
        metavar="NAME",
        help="At a server: of this project. Default: the token's own, else 'default'.",
    )(function)


def http_of(world: World) -> Http | None:
    """The connection to the server that jobs are at; None: they are on this machine.

    Nothing is loaded for jobs that are here: a list of files must not wait for a database.
    """
    if world.connect is None:
        where = world.where
        named = where.server or world.env.get("AUTOMATA_SERVER")
        if not where.server and (where.local or not (named or live_server(world.settings.home))):
            return None
    service: Any = world.service
    return None if service.runs_here else service.http


def listed(http: Http, path: str, project: str | None) -> Iterator[dict[str, Any]]:
    """All items of a list."""
    params: dict[str, Any] = {"page_size": PAGE}
    if project is not None:
        params["project"] = project
    while True:
        page = http.request("GET", path, params=params).json()
        yield from page["items"]
        if page["next_page_token"] is None:
            return
        params["page_token"] = page["next_page_token"]


def found(http: Http, path: str, name: str, project: str | None) -> dict[str, Any]:
    """One item of a list."""
    params = {} if project is None else {"project": project}
    item: dict[str, Any] = http.request(
        "GET", f"{path}/{quote(name, safe='')}", params=params
    ).json()
    return item


def push(
    world: World,
    kind: Kind,
    path: Path,
    name: str | None,
    project: str | None,
    form: str,
    target: str | None = None,
    test: Path | None = None,
    val: Path | None = None,
) -> None:
    """Pushes, with a bar, and says what a job is to say.

    Raises:
        SpecError: jobs are on this machine, and need no pushing.
    """
    from automata_svc.cli.progress import Bars
    from automata_svc.client.bundles import prepare, send

    http = http_of(world)
    if http is None:
        raise SpecError(
            f"jobs run on this machine and find '{path}' by its path; "
            "to push it, name a server: --server URL"
        )
    prepared = prepare(kind, path, name, target=target, test=test, val=val)
    ref = send(http, prepared, Bars(world), project)
    if form == "table":
        world.say(ref)
        world.note(f"a job names it so: trial: {{{kind}: {ref}}}")
    else:
        world.say_data({"ref": ref, "kind": kind, "bytes": prepared.size}, form)
