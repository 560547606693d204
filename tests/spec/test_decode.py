from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.errors import SpecError
from automata_svc.spec.decode import MAX_BYTES, MAX_DEPTH, MAX_NODES, decode


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("+3", 3),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("on", "on"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("'1e-4'", "1e-4"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("é", "é"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_yaml_is_read_by_the_core_schema(text: str, value: Any) -> None:
    found = decode(f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)


def test_an_empty_text_is_nothing() -> None:
    assert decode("") is None
    assert decode("# only a comment\n") is None


def test_json_is_read_as_json() -> None:
    assert decode('{"a": [1, 2.5, "\\ud83d\\ude00", null, true]}') == {
        "a": [1, 2.5, "😀", None, True]
    }


def test_what_looks_like_json_may_be_yaml() -> None:
    assert decode("{a: 1, b: [x, 1e-3]}") == {"a": 1, "b": ["x", 1e-3]}


def test_a_json_file_is_nothing_but_json() -> None:
    with pytest.raises(SpecError, match=r"job\.json: not JSON: .*line 1, column 2"):
        decode("{a: 1}", "job.json")


def test_bytes_are_utf8_with_or_without_a_mark() -> None:
    assert decode("a: é".encode()) == {"a": "é"}
    assert decode("a: é".encode("utf-8-sig")) == {"a": "é"}


def test_an_alias_is_a_copy_of_what_it_names() -> None:
    data = decode("a: &x {lr: 1}\nb: *x\n")
    assert data == {"a": {"lr": 1}, "b": {"lr": 1}}
    assert data["a"] is not data["b"]


BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "key 'a' is given twice; keep one (line 2, column 1)"),
        ("x: {a: 1, 'a': 2}", "key 'a' is given twice"),
        ('{"a": 1, "a": 2}', "key 'a' is given twice; keep one"),
        ("a: .nan", ".nan is not a finite number (line 1, column 4)"),
        ("a: [-.INF]", "-.INF is not a finite number"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not a finite number"),
        ("a: 1e999", "1e999 is beyond what a float holds"),
        ('{"a": 1e999}', "1e999 is beyond what a float holds"),
        ("a: " + "9" * 5000, "a whole number of 5000 digits"),
        ('{"a": ' + "9" * 5000 + "}", "a whole number of 5000 digits"),
        ("a: \0", "holds a NUL character; is it a text file?"),
        ('a: "\\0"', "a: holds a NUL character"),
        ('{"a": "\\u0000"}', "a: holds a NUL character"),
        ('{"a\\u0000": 1}', "a key holds a NUL character"),
        ('{"a": ["\\ud800"]}', "a[0]: holds half of a surrogate pair"),
        ("a: \ud800", "not UTF-8 text"),
        (b"a: \xff", "not UTF-8 text"),
        ("a: 1\n---\nb: 2", "a second document starts; one file holds one job"),
        ("a: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system"),
        ("a: !mine x", "the tag !mine is not taken"),
        ("a: !!float 3", "the tag !!float is not taken"),
        ("!!set {a, b}", "the tag !!set is not taken"),
        ("<<: {a: 1}", "merge keys (<<) are not taken; write the keys out"),
        ("? [a]\n: 1", "a key must be a plain text"),
        ("a: &x [*x]", "the alias *x stands inside of what it names"),
        ("a: *x", "the alias *x names nothing above it"),
        (BOMB, f"more than {MAX_NODES:,} values, aliases written out"),
        ("[" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} mappings and lists inside each other"),
        ('{"a":' * 100 + "1" + "}" * 100, f"more than {MAX_DEPTH} mappings and lists"),
        ('{"a":' * 50_000, f"more than {MAX_DEPTH} mappings and lists"),
        ("[" + "0," * MAX_NODES + "0]", f"more than {MAX_NODES:,} values"),
        ("- 0\n" * (MAX_NODES + 1), f"more than {MAX_NODES:,} values"),
        ("#" * (MAX_BYTES + 1), f"a job file has at most {MAX_BYTES:,}"),
        ("a: b: c", "not YAML: mapping values are not allowed in this context (line 1, column 5)"),
        ("a: [1", "not YAML: "),
        ("a:\n\t- 1", "not YAML: found character that cannot start any token (line 2, column 1)"),
    ],
)
def test_what_is_refused_is_refused_with_the_reason(text: str | bytes, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        decode(text)
    assert message in str(caught.value)


def test_what_is_just_small_and_flat_enough_is_taken() -> None:
    data = decode("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    depth = 0
    while data:
        data, depth = data[0], depth + 1
    assert depth == MAX_DEPTH - 1


json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_data, st.booleans())
def test_json_comes_back_exactly(data: Any, ascii_only: bool) -> None:
    found = decode(json.dumps(data, ensure_ascii=ascii_only), "x.json")
    assert json.dumps(found) == json.dumps(data)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_exactly_from_yaml(number: float) -> None:
    found = decode(f"a: {number!r}")["a"]
    assert found == number
    assert math.copysign(1, found) == math.copysign(1, number)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_our_words(text: str) -> None:
    try:
        decode(text)
    except SpecError as error:
        assert error.problems
