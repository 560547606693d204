"""Data to canonical JSON text and back, exactly; also what JSON has no word for.

Numbers that are not finite are tagged: {"$": "nan"}, {"$": "inf"}, {"$": "-inf"}. A mapping whose
only key is "$" would look like one and is written {"$": ["map", its value]}. Keys are sorted and
nothing is padded, so equal data gives equal text. A float's text is the shortest that reads back as
the same float.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from automata_svc.errors import Damaged

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(data: Any) -> str:
    """Canonical JSON of None, booleans, numbers, texts, sequences and mappings with text keys.

    Raises:
        TypeError: something else is in it.
        ValueError: a text holds NUL or half of a surrogate pair, which databases refuse.
    """
    text = _ENCODER.encode(_plain(data))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair, which is no character") from None
    return text


def decode(text: str) -> Any:
    """The data that `encode` wrote: lists for sequences, dicts for mappings.

    Raises:
        Damaged: the text is nothing that `encode` writes.
    """
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse)
    except (ValueError, KeyError, RecursionError) as error:
        raise Damaged(f"a stored text is damaged: {error}; it begins {text[:60]!r}") from error


# allow_nan=False: a NaN that slipped by would write a word that is no JSON.
_ENCODER = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, sort_keys=True, separators=(",", ":")
)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text holds a NUL character")
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return {"$": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        body = {_key(key): _plain(item) for key, item in value.items()}
        return {"$": ["map", body["$"]]} if body.keys() == {"$"} else body
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not data that can be stored")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a text, not {key!r}")
    return str(_plain(key))


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key is given twice")
    if body.keys() != {"$"}:
        return body
    tagged = body["$"]
    if isinstance(tagged, list) and len(tagged) == 2 and tagged[0] == "map":
        return {"$": tagged[1]}
    if isinstance(tagged, str) and tagged in _NOT_FINITE:
        return _NOT_FINITE[tagged]
    raise ValueError(f"unknown tag {tagged!r}")


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
