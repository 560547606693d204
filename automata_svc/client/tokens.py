"""A server's tokens; for those whose own has the scope admin."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from automata_svc.client.http import Http, read
from automata_svc.spec.wire.tokens import NewToken, Token, TokenList


class RemoteTokens:
    """The methods of `jobs.token_desk.TokenDesk`, at a server."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        project: str | None = None,
        expires_in_s: float | None = None,
    ) -> NewToken:
        """Makes a token. Where the answer is lost it is not asked for again: nobody has its secret,
        and a list shows it.
        """
        asked = {"name": name, "scopes": list(scopes), "project": project}
        body = {**asked, "expires_in_s": expires_in_s}
        return read(NewToken, self._http.request("POST", "/v1/tokens", json=body))

    def ls(self, project: str | None = None) -> tuple[Token, ...]:
        """Tokens, the newest first; expired and revoked ones as well."""
        params = {} if project is None else {"project": project}
        found: list[Token] = []
        while True:
            page = read(TokenList, self._http.request("GET", "/v1/tokens", params=params))
            found += page.items
            if page.next_page_token is None:
                return tuple(found)
            params = {**params, "page_token": page.next_page_token}

    def revoke(self, token: str) -> Token:
        """Makes a token useless at once; again, and nothing changes."""
        return read(Token, self._http.request("DELETE", f"/v1/tokens/{quote(token, safe='')}"))
