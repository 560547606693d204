"""Text that every database can hold, refused early and in the same words where it is not."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from automata_svc.errors import SpecError


def is_storable(text: str) -> bool:
    """Whether every database holds it: neither NUL nor half a surrogate pair is in it."""
    if "\0" in text:
        return False
    try:
        text.encode()  # letter by letter in Python it would take as long as storing it
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    """The text, with a question mark for each character that not every database holds."""
    if is_storable(text):
        return text
    return text.replace("\0", "?").encode("utf-8", "replace").decode()


class _Checked(TypeDecorator[str]):
    """A column of text; PostgreSQL takes no NUL, SQLite would, and neither a lone surrogate."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is not None and not is_storable(value):
            raise SpecError(f"{value[:60]!r} holds a NUL or half a character, and cannot be stored")
        return value


class Words(_Checked):
    """Text of any length."""

    impl = Text
    cache_ok = True


class Word(_Checked):
    """Text of so many characters at most."""

    impl = String
    cache_ok = True
