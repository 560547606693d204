"""Bearer tokens: made, listed and revoked by those with the scope admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Query

from automata_svc.api.needs import Administers, World
from automata_svc.api.routing import router
from automata_svc.spec.wire.tokens import NewToken, Token, TokenList, TokenRequest

if TYPE_CHECKING:
    from automata_svc.database import TokenRow

routes = router("tokens", 404)


@routes.post("/v1/tokens", operation_id="create_token", status_code=201)
def create(body: TokenRequest, caller: Administers, world: World) -> NewToken:
    """Makes a token. Its secret is in this answer and nowhere else."""
    project = caller.project if body.project is None else caller.home(body.project)
    row, secret = world.tokens.create(
        body.name, body.scopes, project=project, expires_in_s=body.expires_in_s
    )
    return NewToken(**_shown(row).model_dump(), secret=secret)


@routes.get("/v1/tokens", operation_id="list_tokens")
def ls(
    caller: Administers,
    world: World,
    project: Annotated[str | None, Query(max_length=63, description="Only those of it.")] = None,
) -> TokenList:
    """Tokens, the newest first; expired and revoked ones as well."""
    rows = world.tokens.rows(caller.shown(project))
    return TokenList(items=tuple(_shown(row) for row in rows))


@routes.delete("/v1/tokens/{token}", operation_id="revoke_token")
def revoke(token: str, caller: Administers, world: World) -> Token:
    """Makes a token useless from now on; again, and nothing changes. It stays in the list."""
    return _shown(world.tokens.revoke(token, caller.project))


def _shown(row: TokenRow) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        project=row.project,
        scopes=tuple(row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
