"""Text to plain data, strictly: the one decoder for everything that was written outside.

YAML is read by the core schema of YAML 1.2, so that `1e-4` is a number, and `on`, `no`, `1:30` and
`2024-01-01` are texts. Refused, in YAML and in JSON: a key given twice, numbers that are not
finite, NUL and lone surrogates, and whatever is too large or too deep.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from automata_svc.errors import Problem, SpecError

MAX_BYTES = 1_000_000  # of a job file
MAX_DEPTH = 32  # mappings and lists inside each other
MAX_NODES = 50_000  # values in all, each alias counted as what it stands for

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?[0-9]+")
HEX_OR_OCTAL = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_CORE_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:str", "!"}


def decode(text: str | bytes, source: str = "") -> Any:
    """The data a YAML or JSON text stands for: None, bool, int, float, str, list and dict.

    Args:
        text: one document; what starts with '{' is tried as JSON first.
        source: a file's name, for messages; one that ends with .json is JSON and nothing else.

    Raises:
        SpecError: the text is not one such document; the message gives the line where known.
    """
    text = _as_text(text, source)
    if source.endswith(".json") or text.lstrip()[:1] in ("{", "["):
        try:
            return decode_json(text, source)
        except _NotJson as error:
            if source.endswith(".json"):
                raise SpecError(Problem("", str(error)), source) from None
    return _Yaml(text, source).document()


def decode_json(text: str, source: str = "") -> Any:
    """The data a JSON text stands for, by the same rules.

    Raises:
        SpecError: as `decode`; a text that is not JSON at all is said by the subclass _NotJson.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_constant=_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except json.JSONDecodeError as error:
        said = f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise _NotJson(Problem("", said), source) from None
    except RecursionError:
        raise SpecError(_too_deep(""), source) from None
    except _Refused as error:
        raise SpecError(Problem("", str(error)), source) from None
    problems = list(_problems(data))
    if problems:
        raise SpecError(problems, source)
    return data


class _NotJson(SpecError):
    """The text is not JSON; it may be YAML."""


class _Refused(Exception):
    """Valid JSON that we do not take."""


def _as_text(text: str | bytes, source: str) -> str:
    size = len(text)
    if size > MAX_BYTES:
        said = f"{size:,} bytes; a job file has at most {MAX_BYTES:,}"
        raise SpecError(Problem("", said), source)
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        decoded.encode("utf-8")
    except UnicodeError as error:
        raise SpecError(
            Problem("", f"not UTF-8 text ({getattr(error, 'reason', error)})"), source
        ) from None
    if "\0" in decoded:
        raise SpecError(Problem("", "holds a NUL character; is it a text file?"), source)
    return decoded.removeprefix("\ufeff")


def _bad_text(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    return None


def _too_deep(pointer: str) -> Problem:
    return Problem(pointer, f"more than {MAX_DEPTH} mappings and lists inside each other")


# ---- JSON ---------------------------------------------------------------------------------------


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"key '{key}' is given twice; keep one")
            seen.add(key)
    return data


def _constant(word: str) -> NoReturn:
    raise _Refused(f"{word} is not a finite number")


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise _Refused(f"{word} is beyond what a float holds")
    return number


def _whole(word: str) -> int:
    if len(word) > 400:  # Python would take quadratic time, and refuse beyond 4,300
        raise _Refused(f"a whole number of {len(word)} digits")
    return int(word)


def _problems(data: Any) -> Iterator[Problem]:
    """What is wrong inside decoded data: texts and depth; walks without recursion."""
    waiting: list[tuple[str, Any, int]] = [("", data, 0)]
    nodes = 0
    while waiting:
        pointer, value, depth = waiting.pop()
        nodes += 1
        if nodes > MAX_NODES:
            yield Problem("", f"more than {MAX_NODES:,} values")
            return
        if isinstance(value, str):
            said = _bad_text(value)
            if said:
                yield Problem(pointer, said)
        elif isinstance(value, dict | list) and depth >= MAX_DEPTH:
            yield _too_deep(pointer)
            return
        elif isinstance(value, dict):
            for key, item in value.items():
                said = _bad_text(key)
                if said:
                    yield Problem(pointer, f"a key {said}")
                    continue
                waiting.append((f"{pointer}.{key}" if pointer else key, item, depth + 1))
        elif isinstance(value, list):
            waiting.extend((f"{pointer}[{i}]", item, depth + 1) for i, item in enumerate(value))


# ---- YAML ---------------------------------------------------------------------------------------


class _Yaml:
    """Builds data from libyaml's events, so that each rule can be held where the text breaks it."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_Loader))
        self._anchors: dict[str, tuple[Any, int]] = {}  # name → value, nodes in it
        self._open: set[str] = set()
        self._nodes = 0

    def document(self) -> Any:
        try:
            self._next()  # stream start
            event = self._next()
            if isinstance(event, yaml.StreamEndEvent):
                return None
            data = self._node(self._next(), "", 0)
            self._next()  # document end
            event = self._next()
            if isinstance(event, yaml.DocumentStartEvent):
                self._refuse(event, "a second document starts; one file holds one job")
            return data
        except yaml.YAMLError as error:
            raise SpecError(Problem("", _yaml_words(error)), self._source) from None

    def _next(self) -> Any:
        return next(self._events)

    def _refuse(self, event: Any, said: str, pointer: str = "") -> NoReturn:
        mark = event.start_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})"
        raise SpecError(Problem(pointer, said + where), self._source)

    def _node(self, event: Any, pointer: str, depth: int) -> Any:
        before = self._nodes
        self._count(event, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, pointer)
        if event.anchor:
            self._open.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, pointer)
        else:
            if event.tag is not None and event.tag not in _CORE_TAGS:
                self._refuse(
                    event, f"the tag {_tag(event.tag)} is not taken; write plain data", pointer
                )
            if depth >= MAX_DEPTH:
                self._refuse(event, _too_deep("").message, pointer)
            if isinstance(event, yaml.MappingStartEvent):
                value = self._mapping(pointer, depth)
            else:
                value = self._sequence(pointer, depth)
        if event.anchor:
            self._open.discard(event.anchor)
            self._anchors[event.anchor] = (value, self._nodes - before)
        return value

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES:,} values, aliases written out")

    def _alias(self, event: Any, pointer: str) -> Any:
        if event.anchor in self._open:
            self._refuse(
                event, f"the alias *{event.anchor} stands inside of what it names", pointer
            )
        if event.anchor not in self._anchors:
            self._refuse(event, f"the alias *{event.anchor} names nothing above it", pointer)
        value, nodes = self._anchors[event.anchor]
        self._count(event, nodes)
        return copy.deepcopy(value)

    def _mapping(self, pointer: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, "a key must be a plain text", pointer)
            self._count(event, 1)
            key = event.value
            said = _bad_text(key)
            if said:
                self._refuse(event, f"a key {said}", pointer)
            if key == "<<" and event.implicit[0]:
                self._refuse(event, "merge keys (<<) are not taken; write the keys out", pointer)
            if event.tag is not None and event.tag not in _CORE_TAGS:
                self._refuse(event, f"the tag {_tag(event.tag)} is not taken", pointer)
            if key in found:
                self._refuse(event, f"key '{key}' is given twice; keep one", pointer)
            found[key] = self._node(self._next(), f"{pointer}.{key}" if pointer else key, depth + 1)
        return found

    def _sequence(self, pointer: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._node(event, f"{pointer}[{len(found)}]", depth + 1))
        return found

    def _scalar(self, event: Any, pointer: str) -> Any:
        text: str = event.value
        said = _bad_text(text)
        if said:
            self._refuse(event, said, pointer)
        if event.tag is not None and event.tag not in _CORE_TAGS:
            self._refuse(
                event, f"the tag {_tag(event.tag)} is not taken; write plain data", pointer
            )
        if event.tag is not None or not event.implicit[0]:
            return text  # quoted, a block, or !!str
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            self._refuse(event, f"{text} is not a finite number", pointer)
        try:
            if _INT.fullmatch(text):
                return _whole(text)
            if HEX_OR_OCTAL.fullmatch(text):
                return int(text, 0)
            if FLOAT.fullmatch(text):
                return _finite(text)
        except _Refused as error:
            self._refuse(event, str(error), pointer)
        return text


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _yaml_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n")[0]
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    hint = "; YAML is indented with spaces" if "\\t" in problem or "'\t'" in problem else ""
    return f"not YAML: {problem}{hint}{where}"
