"""Bearer tokens: made, listed and revoked by those with the scope admin."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from automata_svc.api.needs import Administers, World
from automata_svc.api.routing import router
from automata_svc.jobs.token_desk import TokenDesk
from automata_svc.spec.wire.tokens import NewToken, Token, TokenList, TokenRequest

routes = router("tokens", 404)


@routes.post("/v1/tokens", operation_id="create_token", status_code=201)
def create(body: TokenRequest, caller: Administers, world: World) -> NewToken:
    """Makes a token. Its secret is in this answer and nowhere else."""
    desk = TokenDesk(world.tokens, caller)
    return desk.create(body.name, body.scopes, body.project, body.expires_in_s)


@routes.get("/v1/tokens", operation_id="list_tokens")
def ls(
    caller: Administers,
    world: World,
    project: Annotated[str | None, Query(max_length=63, description="Only those of it.")] = None,
) -> TokenList:
    """Tokens, the newest first; expired and revoked ones as well."""
    return TokenList(items=TokenDesk(world.tokens, caller).ls(project))


@routes.delete("/v1/tokens/{token}", operation_id="revoke_token")
def revoke(token: str, caller: Administers, world: World) -> Token:
    """Makes a token useless from now on; again, and nothing changes. It stays in the list."""
    return TokenDesk(world.tokens, caller).revoke(token)
