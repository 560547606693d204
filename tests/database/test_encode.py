from __future__ import annotations

import json
import math
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.database import decode, encode
from automata_svc.errors import Damaged

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.just("$"), inner, max_size=3)
        | st.fixed_dictionaries({"$": inner})
    ),
    max_leaves=12,
)


def alike(a: Any, b: Any) -> bool:
    """Equal in value and type, NaN equal to itself and 0.0 apart from -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (
            math.isnan(a) and math.isnan(b) or (a, math.copysign(1, a)) == (b, math.copysign(1, b))
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(alike, a, b))
    return bool(a == b)


@given(data)
def test_data_comes_back_exactly(value: Any) -> None:
    assert alike(decode(encode(value)), value)


@given(data)
def test_the_text_is_plain_json_with_sorted_keys(value: Any) -> None:
    text = encode(value)
    parsed = json.loads(text, parse_constant=pytest.fail)
    assert text == json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@given(st.dictionaries(texts, st.integers(), max_size=6), st.randoms())
def test_equal_data_gives_equal_text(value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)


def test_numbers_that_json_has_no_word_for_are_tagged() -> None:
    assert encode([math.nan, math.inf, -math.inf]) == '[{"$":"nan"},{"$":"inf"},{"$":"-inf"}]'


def test_a_mapping_that_looks_like_a_tag_is_not_taken_for_one() -> None:
    assert encode({"$": "nan"}) == '{"$":["map","nan"]}'
    assert decode(encode({"$": "nan"})) == {"$": "nan"}
    assert encode({"$": 1, "a": 2}) == '{"$":1,"a":2}'


def test_tuples_and_read_only_mappings_are_data() -> None:
    assert encode(MappingProxyType({"a": (1, 2)})) == '{"a":[1,2]}'


@pytest.mark.parametrize("value", [{1: 2}, {"a": object()}, [{"a": {1, 2}}], b"x"])
def test_what_is_no_data_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize("value", ["\0", {"a\0": 1}, ["\ud800"], {"\udfff": 1}])
def test_texts_that_a_database_refuses_are_refused_before_it(value: Any) -> None:
    with pytest.raises(ValueError, match="a text holds"):
        encode(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        '{"a":Infinity}',
        '{"a":1,"a":2}',
        '{"$":"nam"}',
        '{"$":3}',
        '{"$":["map"]}',
        "[" * 100_000,
    ],
)
def test_a_text_that_we_never_write_is_damaged(text: str) -> None:
    with pytest.raises(Damaged, match="a stored text is damaged"):
        decode(text)
