from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from automata_svc.errors import SpecError
from automata_svc.spec.domain import Domain, read_domain
from automata_svc.spec.space import MAX_GRID, compile_space


def mistakes(space: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        compile_space(space)
    return {one.pointer: one.message for one in caught.value.problems}


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"randint": [2, 5]}, [2, 3, 4, 5]),
        ({"quniform": [0.1, 0.5, 0.1]}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"quniform": [0, 1, 0.3]}, [0.0, 0.3, 0.6, 0.9]),
        ({"choice": ["a", True, 1.5]}, ["a", True, 1.5]),
        ([64, 128], [64, 128]),
        (12, [12]),
        ("adam", ["adam"]),
    ],
)
def test_a_finite_domain_lists_its_values(written: Any, values: list[Any]) -> None:
    domain = read_domain(written)
    assert list(domain.values) == values
    assert domain.size == len(values)
    assert domain.is_finite
    assert all(domain.contains(value) for value in values)


def test_a_range_includes_both_of_its_ends() -> None:
    domain = read_domain({"randint": [2, 12]})
    assert (domain.smallest, domain.largest, domain.size) == (2, 12, 11)
    assert domain.contains(2) and domain.contains(12) and domain.contains(3.0)
    assert not any(domain.contains(value) for value in (1, 13, 2.5, True, "3", float("nan")))


def test_a_huge_range_is_not_written_out() -> None:
    domain = read_domain({"randint": [0, 2**50]})
    assert domain.size == 2**50 + 1
    assert domain.values[-1] == 2**50


def test_true_is_not_one() -> None:
    assert not read_domain([1, 2]).contains(True)
    assert not read_domain([True]).contains(1)
    assert read_domain([1, True]).size == 2
    assert read_domain([64]).contains(64.0)


def test_a_step_grid_contains_what_sums_of_steps_give() -> None:
    domain = read_domain({"quniform": [0.0, 0.5, 0.05]})
    assert all(domain.contains(0.05 * i) for i in range(11))
    assert not domain.contains(0.07)
    assert domain.largest == 0.5


@pytest.mark.parametrize(
    ("written", "below", "message"),
    [
        ({"uniform": [2, 1]}, "uniform", "the lower end 2 must be below the upper end 1"),
        ({"uniform": [1, 1]}, "uniform", "for one value write it alone"),
        ({"uniform": [1]}, "uniform", "[1] is not of the form [lo, hi]"),
        ({"uniform": 1}, "uniform", "1 is not of the form [lo, hi]"),
        ({"uniform": [0, "x"]}, "uniform", "'x' is not a number"),
        ({"uniform": [False, 1]}, "uniform", "false is not a number"),
        ({"uniform": [-1.7e308, 1.7e308]}, "uniform", "too wide for a float"),
        ({"loguniform": [0, 1]}, "loguniform", "the lower end 0 must be above 0"),
        ({"loguniform": [-1, 1]}, "loguniform", "the lower end -1 must be above 0"),
        ({"randint": [1, 2.5]}, "randint", "2.5 is not a whole number"),
        ({"quniform": [0, 1]}, "quniform", "is not of the form [lo, hi, q]"),
        ({"quniform": [0, 1, 0]}, "quniform", "the step 0 must be above 0"),
        ({"quniform": [0, 1, 2]}, "quniform", "the step 2 is larger than the range from 0 to 1"),
        ({"quniform": [0, 1, 1e-9]}, "quniform", "makes more than 10,000 values; use uniform"),
        ({"choice": []}, "choice", "the list is empty"),
        ([], "choice", "the list is empty"),
        ({"choice": [1, 1.0]}, "choice", "1.0 is listed twice"),
        ({"choice": [None]}, "choice", "null is not a number, a text or true/false"),
        ({"choice": 3}, "choice", "3 is not a list of values"),
        ({"loguniforn": [1, 2]}, "loguniforn", "did you mean 'loguniform'?"),
        ({"uniform": [0, 1], "choice": [1]}, "", "names uniform and choice"),
        ({"when": {"b": 1}}, "", "names no domain; it takes one of: uniform, loguniform"),
        ({"uniform": [0, 1], "when": {}}, "when", "is not of the form {parameter: [values]}"),
        ({"uniform": [0, 1], "when": {"b": []}}, "when.b", "the list is empty"),
    ],
)
def test_a_domain_that_makes_no_sense_says_why(written: Any, below: str, message: str) -> None:
    found = mistakes({"a": written, "b": [1, 2]})
    pointer = f"spec.space.a.{below}" if below else "spec.space.a"
    assert list(found) == [pointer]
    assert message in found[pointer]


def test_all_mistakes_of_a_space_come_at_once() -> None:
    found = mistakes({"a": {"uniform": [2, 1]}, "b": {"choice": []}, "c d": 1, "e": [1]})
    assert set(found) == {"spec.space.a.uniform", "spec.space.b.choice", "spec.space.c d"}


@pytest.mark.parametrize("space", [{}, [], None, "lr"])
def test_a_space_names_at_least_one_parameter(space: Any) -> None:
    assert set(mistakes(space)) == {"spec.space"}


# ---- conditions ---------------------------------------------------------------------------------

SGD = {
    "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": "sgd"}},
    "nesterov": {"choice": [True, False], "when": {"optimizer": ["sgd"]}},
    "damping": {"choice": [0, 0.1, 0.2], "when": {"nesterov": [False]}},
    "optimizer": ["adam", "sgd", "rmsprop"],
    "lr": {"loguniform": [1e-4, 1e-1]},
}


def test_parents_come_before_the_parameters_that_depend_on_them() -> None:
    space = compile_space(SGD)
    assert space.names == ("damping", "lr", "momentum", "nesterov", "optimizer")
    assert space.order == ("lr", "optimizer", "momentum", "nesterov", "damping")


def test_without_conditions_parameters_come_in_sorted_order() -> None:
    assert compile_space({"b": [1], "a": [1], "c": [1]}).order == ("a", "b", "c")


def test_a_parameter_exists_where_all_of_its_conditions_hold() -> None:
    space = compile_space(SGD)
    adam = {"lr": 0.01, "optimizer": "adam"}
    sgd = {"lr": 0.01, "optimizer": "sgd", "momentum": 0.9, "nesterov": False, "damping": 0.1}
    assert space.active(adam) == ("lr", "optimizer")
    assert space.active(sgd) == space.order
    assert space.contains(adam) and space.contains(sgd)
    assert not space.contains({**adam, "momentum": 0.9})
    assert not space.contains({"lr": 0.01})
    assert not space.contains({**sgd, "damping": 0.3})
    assert not space.contains({k: v for k, v in sgd.items() if k != "damping"})


def test_a_switched_off_parent_switches_its_children_off() -> None:
    space = compile_space(SGD)
    assert "damping" not in space.active({"optimizer": "adam", "nesterov": False})


@pytest.mark.parametrize(
    ("when", "below", "message"),
    [
        ({"optimiser": "sgd"}, "when.optimiser", "did you mean 'optimizer'?"),
        ({"optimizer": "sgdm"}, "when.optimizer", "'optimizer' can never be 'sgdm'"),
        ({"lr": 0.1}, "when.lr", "'lr' is continuous; a condition needs listed values"),
        ({"a": 1}, "when.a", "a parameter cannot depend on itself"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(
    when: dict[str, Any], below: str, message: str
) -> None:
    found = mistakes({"a": {"choice": [1], "when": when}, "optimizer": ["sgd"], "lr": SGD["lr"]})
    assert list(found) == [f"spec.space.a.{below}"]
    assert message in found[f"spec.space.a.{below}"]


def test_conditions_in_a_circle_are_refused_with_the_circle() -> None:
    space = {
        "c": {"choice": [1], "when": {"b": 1}},
        "a": {"choice": [1], "when": {"c": 1}},
        "b": {"choice": [1], "when": {"a": 1}},
        "d": {"choice": [1], "when": {"a": 1}},
    }
    assert mistakes(space) == {"spec.space.a.when": "depends on itself: a → c → b → a"}


# ---- grids --------------------------------------------------------------------------------------


def test_a_grid_lists_every_configuration_once() -> None:
    space = compile_space({"a": [1, 2], "b": {"randint": [0, 2]}})
    grid = space.grid()
    assert grid == [{"a": a, "b": b} for a, b in itertools.product([1, 2], [0, 1, 2])]
    assert space.grid_size == 6


def test_a_grid_leaves_out_what_does_not_exist() -> None:
    space = compile_space(
        {name: item for name, item in SGD.items() if name not in ("momentum", "lr")}
    )
    assert space.grid_size == len(space.grid()) == 2 + 1 + 3
    assert {"optimizer": "adam"} in space.grid()
    assert {"optimizer": "sgd", "nesterov": True} in space.grid()


def test_a_continuous_or_huge_space_has_no_grid() -> None:
    assert compile_space(SGD).grid_size is None
    with pytest.raises(SpecError, match="a domain is continuous"):
        compile_space(SGD).grid()
    huge = compile_space({"a": {"randint": [0, 10**12]}, "b": {"randint": [0, 10**12]}})
    assert huge.grid_size == (10**12 + 1) ** 2
    with pytest.raises(SpecError, match=f"at most {MAX_GRID:,}"):
        huge.grid()


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
    space: dict[str, Any] = {}
    for name in names:
        item: dict[str, Any] = {"choice": list(range(draw(st.integers(1, 3))))}
        parents = [p for p in space if draw(st.booleans())][:2]
        if parents:
            item["when"] = {
                p: draw(st.sets(st.sampled_from(space[p]["choice"]), min_size=1)) for p in parents
            }
            item["when"] = {p: sorted(v) for p, v in item["when"].items()}
        space[name] = item
    return dict(draw(st.permutations(list(space.items()))))


@given(spaces())
def test_the_grid_is_the_space(written: dict[str, Any]) -> None:
    space = compile_space(written)
    assume(space.grid_size is not None and space.grid_size < 500)
    grid = space.grid()
    assert len(grid) == space.grid_size
    assert all(space.contains(params) for params in grid)
    assert len({tuple(sorted(params.items())) for params in grid}) == len(grid)
    assert [
        p for name in space.order for p in space.domains[name].when if p not in space.order
    ] == []


def test_a_space_crosses_to_another_process() -> None:
    space = compile_space(SGD)
    assert pickle.loads(pickle.dumps(space)) == space


def test_a_space_is_compiled_from_domains_too() -> None:
    domains = {"a": read_domain([1, 2]), "b": Domain("uniform", 0.0, 1.0)}
    assert compile_space(domains).domains == domains
    again = compile_space({name: domain.to_json() for name, domain in domains.items()})
    assert again.domains == domains
