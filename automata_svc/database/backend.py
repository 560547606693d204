"""What differs between kinds of databases, as one value for each; `BACKENDS` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

# clash: rolled back because of others, may be repeated at once; away: may be asked again later;
# value: nothing that a column can hold; mistake: of ours.
Verdict = Literal["clash", "away", "value", "mistake"]

PING_AFTER_S = 1.0  # guess: a connection that was not used for so long may have been cut


@dataclass(frozen=True)
class Backend:
    """One kind of database."""

    open: Callable[[URL, float], Engine]
    named: Callable[[URL], str]  # what errors call it; without the password
    reading: Mapping[str, Any]  # execution options of a connection that only reads
    now: str  # SQL for unix seconds on the database's clock
    # around a transaction that must survive a power cut
    durably: Callable[[Connection], AbstractContextManager[None]]
    # an INSERT that knows on_conflict_do_nothing and on_conflict_do_update
    insert: Callable[..., Any]
    judge: Callable[[DBAPIError], Verdict]
    said: Callable[[DBAPIError], str]
    writes_at_once: bool  # one statement may write several tables: WITH … AS (INSERT …)
    one_writer: bool  # so that threads of one process queue up here already
    makes_itself: bool  # made and brought up to date by whoever opens it
    # nobody else changes tables until the transaction ends
    lock_schema: Callable[[Connection], None]
