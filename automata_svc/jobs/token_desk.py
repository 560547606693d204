"""Making, listing and revoking tokens, as those may who administer; here or over REST."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automata_svc.jobs.tenancy import ADMIN, Caller
from automata_svc.jobs.tokens import Tokens
from automata_svc.spec.wire.tokens import NewToken, Token

if TYPE_CHECKING:
    from automata_svc.database import TokenRow


@dataclass(frozen=True)
class TokenDesk:
    """Every method is for a caller: one who is bound to a project reaches that project's tokens.

    `client.tokens.RemoteTokens` has the same methods. Each of them raises Denied where the caller
    may not administer.
    """

    tokens: Tokens
    caller: Caller

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        project: str | None = None,
        expires_in_s: float | None = None,
    ) -> NewToken:
        """Makes a token; its secret is in what this returns and nowhere else.

        Raises:
            Denied: it would reach another project than the caller's.
            SpecError: with every mistake.
        """
        self.caller.needs(ADMIN)
        home = self.caller.project if project is None else self.caller.home(project)
        row, secret = self.tokens.create(name, scopes, project=home, expires_in_s=expires_in_s)
        return NewToken(**_shown(row).model_dump(), secret=secret)

    def ls(self, project: str | None = None) -> tuple[Token, ...]:
        """Tokens, the newest first; expired and revoked ones as well.

        Raises:
            NotFound: the project is not the caller's.
        """
        self.caller.needs(ADMIN)
        return tuple(map(_shown, self.tokens.rows(self.caller.shown(project))))

    def revoke(self, token: str) -> Token:
        """Makes a token useless at once; again, and nothing changes.

        Raises:
            NotFound: the caller reaches none such; names the nearest.
            SpecError: several fit.
        """
        self.caller.needs(ADMIN)
        return _shown(self.tokens.revoke(token, self.caller.project))


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
