"""/metrics: well-formed, of bounded cardinality, and what a log says, whoever comes and goes."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from automata_svc.api import gauges
from automata_svc.jobs.stored import Stored
from automata_svc.jobs.totals import Totals
from automata_svc.selection.artefacts import FOLDER
from automata_svc.tuning import events as ev
from automata_svc.tuning.tally import ENDED
from tests.api.served import Served, serving
from tests.jobs.build import RUNNER

# The labels that there may be at all: none names a job, a trial, a token or an address.
LABELS = {
    "project", "queue", "state", "reason", "strategy", "result", "route", "method", "code", "le",
    "version", "ray", "optuna",
}  # fmt: skip
NAMES = {
    "automata_jobs", "automata_jobs_submitted", "automata_job_queue_seconds", "automata_trials",
    "automata_trials_finished", "automata_trial_reports", "automata_subset_cache_requests",
    "automata_subset_bytes", "automata_subset_select_seconds", "automata_driver_restarts",
    "automata_drivers", "automata_event_log_append_seconds", "automata_lease_lost",
    "automata_sse_clients", "automata_http_request_duration_seconds",
    "automata_webhook_deliveries", "automata_build_info",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of this module's own, which looks anew at each scrape."""
    with serving(tmp_path_factory.mktemp("metrics")) as one:
        one.world.totals = Totals(one.world.service.database, fresh_s=0.0)
        yield one


def scraped(served: Served) -> dict[str, Metric]:
    """The page as Prometheus' own parser reads it, by name without `_total`."""
    answer = httpx.get(f"{served.url}/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    found = list(text_string_to_metric_families(answer.text))
    assert len({one.name for one in found}) == len(found)  # each name once
    return {one.name: one for one in found}


def value(page: dict[str, Metric], name: str, suffix: str = "", **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    return sum(
        one.value for one in page[f"automata_{name}"].samples
        if one.name == f"automata_{name}{suffix}" and labels.items() <= one.labels.items()
    )  # fmt: skip


def test_every_planned_name_is_there_and_keeps_the_rules(served: Served) -> None:
    served.run(served.submit("measured"))
    served.client.get("/v1/jobs/no-such-job-here")
    served.client.get("/nowhere/at/all")
    scraped(served)  # begins the look at the store
    deadline = time.monotonic() + 30
    while "automata_subset_bytes" not in (page := scraped(served)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert page.keys() - {name for name in page if name.endswith("_created")} == NAMES
    jobs = {row.id for row in served.world.service.jobs()}
    for metric in page.values():
        assert metric.documentation and re.fullmatch(r"automata_[a-z_]+", metric.name)
        for one in metric.samples:
            assert one.labels.keys() <= LABELS, one
            said = " ".join(one.labels.values())
            assert not jobs & set(said.split()) and "no-such-job" not in said, one
            assert metric.type != "counter" or one.name.endswith(("_total", "_created"))
            assert metric.type != "histogram" or one.value >= 0
        assert len(metric.samples) < 500
    for name in ("millis", "_ms", "minutes", "kib", "mb"):
        assert not any(name in one for one in page)  # base units


def test_the_pages_own_list_names_what_is_there() -> None:
    written = set(re.findall(r"(automata_[a-z_]+?)(?:_total)?(?=[{\s])", gauges.__doc__ or ""))
    assert written == NAMES


def test_values_are_what_the_log_says(served: Served) -> None:
    before = scraped(served)
    job = served.submit("counted", queue="counted")
    waiting = scraped(served)
    assert value(waiting, "jobs", state="QUEUED", queue="counted") == 1
    state = served.run(job)
    page = scraped(served)

    def grown(name: str, suffix: str = "", **labels: str) -> float:
        return value(page, name, suffix, **labels) - value(before, name, suffix, **labels)

    log = list(served.world.service.events(job))
    reports = sum(kind == "passes" for _, _, kind, _ in log)
    assert grown("trial_reports", "_total") == reports > 0
    ends = Counter(
        "rung" if trial.decisions[-1].verdict == "prune" else "completed" for trial in state.trials
    )
    for reason in ENDED.values():
        assert grown("trials_finished", "_total", reason=reason) == ends[reason], reason
    assert grown("jobs_submitted", "_total", project="default") == 1
    assert value(page, "jobs", state="SUCCEEDED", queue="counted") == 1
    assert value(page, "jobs", state="QUEUED", queue="counted") == 0
    started = next(at for _, at, kind, _ in log if kind == "driver_started")
    created = served.world.service.find(job).created_at
    assert grown("job_queue_seconds", "_count") == 1
    assert grown("job_queue_seconds", "_sum") == pytest.approx(started - created, abs=0.01)
    assert value(page, "drivers") == value(page, "trials") == 0


def test_a_job_that_goes_takes_nothing_with_it(served: Served) -> None:
    job = served.submit("goes")
    served.run(job)
    before = scraped(served)
    assert served.client.delete(f"/v1/jobs/{job}").status_code == 204
    after = scraped(served)
    for name in (*gauges.COUNTERS, *gauges.HISTOGRAMS, "jobs"):
        assert value(after, name, "_total") == value(before, name, "_total")
        assert after[f"automata_{name}"].samples == before[f"automata_{name}"].samples


def test_another_process_says_the_same(served: Served) -> None:
    """So that a restart of the service, or of a driver, resets no series."""
    job = served.submit("twice")
    database = served.world.service.database
    here = Totals(database).read()
    with database.__class__(served.world.service.settings.database_url) as other:
        assert Totals(other).read() == here
    served.client.post(f"/v1/jobs/{job}:stop")


def test_drivers_and_their_ends_are_counted_by_reason(served: Served) -> None:
    before = scraped(served)
    job = served.submit("restarted")
    service = served.world.service

    class Killed(BaseException):
        pass

    def dies(state: object, events: list[ev.Event]) -> None:
        if any(isinstance(event, ev.Passes) for event in events):
            page = scraped(served)
            assert value(page, "drivers") == value(before, "drivers") + 1
            assert value(page, "trials", state="RUNNING") == 1
            raise Killed

    with pytest.raises(Killed):
        service.drive(job, dies, RUNNER)
    service.drive(job, None, RUNNER)
    page = scraped(served)

    def grown(name: str, **labels: str) -> float:
        return value(page, name, "_total", **labels) - value(before, name, "_total", **labels)

    assert grown("driver_restarts", reason="taken over") == grown("driver_restarts") == 1
    assert grown("lease_lost") == 1


def test_subsets_are_counted_as_computed_and_as_found(served: Served) -> None:
    before = scraped(served)
    for name in ("first", "second"):
        served.run(served.submit(name, subset={"strategy": "milo", "fraction": 0.1}))
    page = scraped(served)
    for result in ("hit", "miss"):
        labels = {"result": result, "strategy": "milo"}
        grown = value(page, "subset_cache_requests", "_total", **labels)
        assert grown - value(before, "subset_cache_requests", "_total", **labels) == 1
    assert value(page, "subset_select_seconds", "_count", strategy="milo") == 1
    assert value(page, "subset_select_seconds", "_bucket", le="+Inf", strategy="milo") == 1


def test_the_size_of_stored_subsets_is_what_the_store_says(served: Served) -> None:
    store = served.world.service.store
    served.run(served.submit("sized", subset={"strategy": "milo", "fraction": 0.2}))
    size = sum(entry.size for entry in store.entries(FOLDER))
    served.world.stored = Stored(lambda: store, FOLDER, every_s=0.0)
    deadline = time.monotonic() + 30
    while served.world.stored.read() != size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert value(scraped(served), "subset_bytes") == size > 0


def test_a_picture_is_kept_for_some_seconds(served: Served) -> None:
    now = [0.0]
    totals = Totals(served.world.service.database, fresh_s=5.0, clock=lambda: now[0])
    first = totals.read()
    job = served.submit("late")
    now[0] = 4.9
    assert totals.read() is first
    now[0] = 5.0
    assert totals.read() != first
    served.client.post(f"/v1/jobs/{job}:stop")
