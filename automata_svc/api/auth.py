"""Bearer tokens at the door: who asks, whether they may, and at what pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from automata_svc.api.limits import Limits, Rates, rate_headers
from automata_svc.errors import TooMany, Unauthenticated
from automata_svc.jobs.tenancy import SCOPES, Caller

if TYPE_CHECKING:
    from automata_svc.jobs.tokens import Tokens

_BEARER = HTTPBearer(
    auto_error=False,
    bearerFormat="automata_ and 43 characters",
    description="A token of `automata token create`; `automata serve` writes one for this machine "
    "to $AUTOMATA_HOME/service/token.",
)


@dataclass(frozen=True)
class Gate:
    """What the door needs; stands in `app.state.gate`."""

    tokens: Tokens
    limits: Limits
    rates: Rates

    @classmethod
    def of(cls, tokens: Tokens, limits: Limits) -> Gate:
        return cls(tokens, limits, Rates(limits.rate_per_s, limits.burst))


def allowed(scope: str) -> Callable[..., Caller]:
    """A FastAPI dependency that gives the Caller: `caller: Caller = Depends(allowed("jobs:read"))`.

    Raises:
        Unauthenticated: (401) no bearer token, or one that is unknown, expired or revoked.
        TooMany: (429) this token asks too often.
        Denied: (403) the token lacks the scope.
    """
    if scope not in SCOPES:
        raise LookupError(f"'{scope}' is in no row of SCOPES")

    def caller(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Caller:
        gate: Gate = request.app.state.gate
        if bearer is None:
            raise Unauthenticated(
                "this needs a token: send the header 'Authorization: Bearer automata_…' "
                "(`automata token create` makes one)"
            )
        found = gate.tokens.authenticate(bearer.credentials)
        _count(request, gate, found)
        found.needs(scope)
        return found

    return caller


def _count(request: Request, gate: Gate, caller: Caller) -> None:
    allowance = gate.rates.take(caller.token_id)
    if allowance is None:
        return
    per_s = gate.limits.rate_per_s
    request.scope.setdefault("state", {})["rate_headers"] = rate_headers(allowance, per_s)
    if allowance.retry_after_s is not None:
        raise TooMany(
            f"token '{caller.name}' sends more than {per_s:g} requests a second; the next is "
            f"taken in {allowance.retry_after_s:.2f} s",
            allowance.retry_after_s,
        )
