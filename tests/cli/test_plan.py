from __future__ import annotations

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from automata_svc.cli.annotated import annotated
from automata_svc.jobs.protocol import Chosen
from automata_svc.spec.decode import decode
from tests.cli.conftest import Run
from tests.cli.fake import FakeService

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")))
    | st.sampled_from(["on", "no", "1e-4", "0x1F", "~", "null", "a: b", "# x", "2026-01-01"])
)
KEYS = st.text("abcdefghij_", min_size=1, max_size=8)
JOBS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=12,
    ),
    max_size=5,
)


@given(JOBS)
@settings(max_examples=60)
def test_the_job_that_plan_prints_is_yaml_that_loads_to_the_same_job(
    job: dict[str, object],
) -> None:
    chosen = {key: Chosen(1, "default: because it is so") for key in job}
    text = "\n".join(annotated(job, chosen, width=60))
    assert (yaml.safe_load(text) or {}) == job
    assert (decode(text) or {}) == job


def test_every_chosen_value_has_its_reason_beside_it(run: Run, job_file: str) -> None:
    shown = run("plan", job_file).stdout
    line = next(line for line in shown.splitlines() if "strategy: adaptive_random" in line)
    assert line.endswith("# default: shuffled full data")
    assert "given" in shown and "full trainings" in shown and "three sets" in shown
    assert "only 5 optimizer steps" in shown


def test_prices_are_laid_side_by_side_through_the_same_plan(
    run: Run, job_file: str, service: FakeService
) -> None:
    done = run("plan", job_file, "--price", "1.5,2.5,50", "--set", "search.seed=1")
    assert service.overrides[0] == ("search.seed=1", "budget.price=1.5")
    assert done.exit_code == 0
    assert "price 1.5" in done.stdout and "refused" in done.stdout
    assert "no recipe reaches 50" in done.stderr
    data = json.loads(run("plan", job_file, "--price", "2.5,50", "-o", "json").stdout)
    assert data[0]["asked"] == 2.5 and "nearest" in data[1]["refused"]


def test_when_every_price_is_refused_the_plan_is(run: Run, job_file: str) -> None:
    assert run("plan", job_file, "--price", "50").exit_code == 2
    assert run("plan", job_file, "--price", "cheap").exit_code == 2


def test_a_plan_as_json_is_the_whole_view(run: Run, job_file: str) -> None:
    data = json.loads(run("plan", job_file, "-o", "json").stdout)
    assert data["price"] == 2.5 and data["rungs"][0]["keep"] == 8
    assert data["chosen"]["spec.budget.trials"] == {"value": 27, "reason": "given"}
