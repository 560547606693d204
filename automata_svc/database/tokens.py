"""Bearer tokens, by the hash of their secret."""

from __future__ import annotations

from dataclasses import asdict, fields

from sqlalchemy import insert, select, update

from automata_svc.database import schema
from automata_svc.database.access import Access
from automata_svc.database.failures import repeated
from automata_svc.database.rows import TokenRow
from automata_svc.errors import Conflict, NotFound

tokens = schema.tokens


class Tokens(Access):
    """Rows of the table tokens."""

    @repeated
    def add_token(self, row: TokenRow) -> None:
        """Stores a token.

        Raises:
            Conflict: its id or hash is there.
        """
        with self._writing() as connection:
            taken = (tokens.c.id == row.id) | (tokens.c.hash == row.hash)
            if connection.execute(select(tokens.c.id).where(taken)).first() is not None:
                raise Conflict(f"token {row.id} exists already")
            connection.execute(insert(tokens).values(asdict(row)))

    def find_token(self, hash: str) -> TokenRow | None:
        """The token with this hash, expired and revoked ones as well."""
        with self._read() as connection:
            row = connection.execute(select(*_COLUMNS).where(tokens.c.hash == hash)).first()
            return None if row is None else TokenRow(**row._mapping)

    def get_token(self, id: str) -> TokenRow:
        """The token with this id, an expired or revoked one as well.

        Raises:
            NotFound: no such token.
        """
        with self._read() as connection:
            row = connection.execute(select(*_COLUMNS).where(tokens.c.id == id)).first()
        if row is None:
            raise _no_token(id)
        return TokenRow(**row._mapping)

    def list_tokens(self, project: str | None = None) -> list[TokenRow]:
        """Tokens, the newest first; with a project, those bound to it."""
        query = select(*_COLUMNS).order_by(tokens.c.created_at.desc(), tokens.c.id.desc())
        if project is not None:
            query = query.where(tokens.c.project == project)
        with self._read() as connection:
            return [TokenRow(**row._mapping) for row in connection.execute(query)]

    def revoke_token(self, id: str, at: float) -> None:
        """Makes it useless from `at` on; one that was revoked before stays so.

        Raises:
            NotFound: no such token.
        """
        self._set(id, revoked_at=at)

    def touch_token(self, id: str, at: float) -> None:
        """Notes that it was used.

        Raises:
            NotFound: no such token.
        """
        self._set(id, last_used_at=at)

    @repeated
    def _set(self, id: str, **values: float) -> None:
        with self._writing() as connection:
            statement = update(tokens).where(tokens.c.id == id).values(**values)
            if connection.execute(statement.returning(tokens.c.id)).first() is None:
                raise _no_token(id)


def _no_token(id: str) -> NotFound:
    return NotFound(f"no token '{id}' is stored here")


_COLUMNS = tuple(tokens.c[field.name] for field in fields(TokenRow))
