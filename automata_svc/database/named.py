"""Leases that belong to no job: what one process of a service does for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select, update

from automata_svc.database import schema
from automata_svc.database.access import Access
from automata_svc.database.failures import repeated
from automata_svc.database.liveness import is_gone
from automata_svc.errors import Conflict, LeaseLost

leases = schema.named_leases


class NamedLeases(Access):
    """Held by one process at a time, on the database's clock, with a token that goes up."""

    @repeated
    def take_named(self, name: str, owner: str, ttl_s: float) -> int:
        """Makes `owner` the holder, e.g. of "controller"; returns its token.

        A lease whose owner was a process of this machine that has ended is taken over at once.

        Raises:
            Conflict: somebody holds it; this very process, too.
        """
        with self._writing() as connection:
            row = {"name": name, "token": 0, "owner": None, "expires_at": None}
            made = self._backend.insert(leases).values(row).on_conflict_do_nothing()
            connection.execute(made)
            live = leases.c.owner.is_not(None) & (leases.c.expires_at > self._now)
            held = select(leases.c.owner, func.coalesce(live, False).label("is_held"))
            found = connection.execute(held.where(leases.c.name == name).with_for_update()).one()
            if found.is_held and not is_gone(found.owner):
                raise Conflict(f"'{name}' is held by {found.owner}")
            values = {
                "token": leases.c.token + 1,
                "owner": owner,
                "expires_at": self._now + ttl_s,
            }
            statement = update(leases).where(leases.c.name == name).values(**values)
            return int(connection.execute(statement.returning(leases.c.token)).scalar_one())

    @repeated
    def renew_named(self, name: str, token: int, ttl_s: float) -> None:
        """Puts its end off to `ttl_s` from now.

        Raises:
            LeaseLost: another token has been given out since.
        """
        self._with_named_token(name, token, {"expires_at": self._now + ttl_s})

    @repeated
    def release_named(self, name: str, token: int) -> None:
        """Gives it back.

        Raises:
            LeaseLost: another token has been given out since.
        """
        values = {"owner": None, "expires_at": None, "token": leases.c.token + 1}
        self._with_named_token(name, token, values)

    def _with_named_token(self, name: str, token: int, values: Mapping[str, Any]) -> None:
        mine = (leases.c.name == name) & (leases.c.token == token)
        statement = update(leases).where(mine).values(**values).returning(leases.c.name)
        with self._writing() as connection:
            if connection.execute(statement).first() is None:
                raise _refused(name, token, connection)


def require_named(name: str, token: int, connection: Connection) -> None:
    """Holds a named lease as it is until the transaction is over: nobody takes it meanwhile.

    Raises:
        LeaseLost: another token has been given out since.
    """
    held = select(leases.c.token).where(leases.c.name == name).with_for_update(read=True)
    if connection.execute(held).scalar() != token:
        raise _refused(name, token, connection)


def _refused(name: str, token: int, connection: Connection) -> LeaseLost:
    query = select(leases.c.owner).where(leases.c.name == name)
    holder = connection.execute(query).scalar()
    said = f"{holder} holds it now" if holder else "nobody holds it"
    return LeaseLost(f"the lease '{name}' (token {token}) is lost: {said}")
