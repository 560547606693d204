"""The database as one object: every noun's methods over one engine. Each write is a transaction."""

from __future__ import annotations

from automata_svc.database.bundles import Bundles
from automata_svc.database.log import CHUNK, Log
from automata_svc.database.named import NamedLeases
from automata_svc.database.tokens import Tokens
from automata_svc.database.uploads import Uploads

__all__ = ["CHUNK", "Database"]


class Database(Log, NamedLeases, Tokens, Bundles, Uploads):
    """One process's connections; may be shared between its threads, not with a fork.

    Log       append, events; with it Jobs, Leases, Commands, Trials and Deliveries
    others    named leases, tokens, bundles, uploads
    """
