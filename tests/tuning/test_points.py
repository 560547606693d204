"""From numbers in [0, 1) to values of a domain, and which numbers a parameter gets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from automata_svc.spec.space import compile_space
from automata_svc.tuning.searchers import SEARCHERS
from automata_svc.tuning.searchers.points import at
from automata_svc.tuning.state import JobState
from tests.tuning.build import make_plan

LAST = 1 - 2**-53  # the largest number below 1


@pytest.mark.parametrize(
    ("domain", "lowest", "middle", "highest"),
    [
        ({"uniform": [2.0, 4.0]}, 2.0, 3.0, 4.0),
        ({"loguniform": [1e-4, 1e-2]}, 1e-4, 1e-3, 1e-2),
        ({"randint": [1, 3]}, 1, 2, 3),
        ({"quniform": [0.0, 1.0, 0.25]}, 0.0, 0.5, 1.0),
        ({"choice": ["a", "b", "c"]}, "a", "b", "c"),
    ],
)
def test_a_domain_is_covered_from_end_to_end(
    domain: dict[str, Any], lowest: Any, middle: Any, highest: Any
) -> None:
    (compiled,) = compile_space({"x": domain}).domains.values()
    found = [at(compiled, unit) for unit in (0.0, 0.5, LAST)]
    if isinstance(lowest, float):
        assert found == pytest.approx([lowest, middle, highest], rel=1e-12)
    else:
        assert found == [lowest, middle, highest]


def test_listed_values_are_equally_likely() -> None:
    (compiled,) = compile_space({"x": {"randint": [1, 5]}}).domains.values()
    drawn = [at(compiled, (i + 0.5) / 100) for i in range(100)]
    assert [drawn.count(value) for value in range(1, 6)] == [20] * 5


@pytest.mark.parametrize("search", ["random", "qmc"])
def test_parameters_are_drawn_independently_of_each_other(search: str) -> None:
    space = {name: {"uniform": [0.0, 1.0]} for name in ("a", "b")}
    plan = make_plan(search=search, space=space)
    searcher = SEARCHERS[search].start(plan)
    points = [searcher.propose(JobState(plan), n).params for n in range(64)]
    quarters = {(math.floor(2 * p["a"]), math.floor(2 * p["b"])) for p in points}
    assert len(quarters) == 4


def test_a_parameter_that_is_added_leaves_the_draws_of_the_others() -> None:
    one = {"a": {"uniform": [0.0, 1.0]}}
    found = []
    for space in (one, {"A": {"choice": [1, 2]}, **one, "b": {"uniform": [0.0, 1.0]}}):
        plan = make_plan(space=space)
        searcher = SEARCHERS["random"].start(plan)
        found.append([searcher.propose(JobState(plan), n).params["a"] for n in range(9)])
    assert found[0] == found[1]
