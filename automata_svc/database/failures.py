"""What a database's own errors mean to us, and what is repeated after which."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolIsEmpty

from automata_svc.database.backend import Backend
from automata_svc.errors import AutomataError, SpecError, Unavailable

CLASH_PAUSES_S = (0.01, 0.05, 0.2)  # guess; each spread by half, so that two do not meet again

P = ParamSpec("P")
T = TypeVar("T")


class Clash(Unavailable):
    """The database undid a transaction because of another one; it may be repeated at once."""


def repeated(method: Callable[P, T]) -> Callable[P, T]:
    """For a method that is one transaction: again, a few times, after a clash with another."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for pause in CLASH_PAUSES_S:
            try:
                return method(*args, **kwargs)
            except Clash:
                time.sleep(pause * random.uniform(0.5, 1.5))
        return method(*args, **kwargs)

    return run


@contextmanager
def engine_errors(backend: Backend, name: str) -> Iterator[None]:
    """Says a driver's errors in our own classes.

    Raises:
        SpecError: a value that no column holds.
        Clash: undone because of another transaction.
        Unavailable: the database is away, full, not ours to write, or somebody has it for too long.
    """
    try:
        yield
    except DBAPIError as error:
        verdict = backend.judge(error)
        if verdict == "mistake":
            raise  # trying again would not help
        said = f"the database {name}: {backend.said(error)}"
        if verdict == "value":
            raise SpecError(said) from error
        raise (Clash if verdict == "clash" else Unavailable)(said) from error
    except StatementError as error:
        if isinstance(error.orig, AutomataError):  # of a column's own check
            raise error.orig from None
        raise
    except OverflowError as error:
        raise SpecError(f"the database {name} cannot hold it: {error}") from error
    except PoolIsEmpty as error:
        said = f"the database {name}: every connection of this process is in use"
        raise Unavailable(said) from error
