"""A whole service, as it is run: real processes, real signals, a real Ray."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from automata_svc.errors import Unavailable
from automata_svc.jobs.launch import RayJobs
from automata_svc.jobs.local_ray import LocalRay, processes_of, remembered
from tests.end_to_end.conftest import at_any_parallelism
from tests.end_to_end.serving import Served, ended_as, slow_job
from tests.jobs.build import job_text, trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, ray_temp_dir: Path) -> Iterator[Served]:
    """One that runs, for tests that leave it as it is: a Ray takes a while to start."""
    one = Served(tmp_path_factory.mktemp("served") / "home", ray_temp_dir)
    one.start()
    yield one
    one.close()


@pytest.fixture
def victim(tmp_path: Path, ray_temp_dir: Path) -> Iterator[Served]:
    """One to be killed."""
    one = Served(tmp_path / "home", ray_temp_dir)
    yield one
    one.close()


def test_two_jobs_share_a_service_and_end_as_they_would_have_alone(served, whole):
    first, second = served.submit(slow_job("one")), served.submit(slow_job("two"))
    served.until(
        lambda: served.state(first) == served.state(second) == "RUNNING", "both of them run"
    )
    with served.service() as service:
        granted = [service.database.get_head(job).slots for job in (first, second)]
    assert granted == [1, 1]
    served.until_over(first, second)
    assert ended_as(served, first) == ended_as(served, second) == at_any_parallelism(whole)
    # What the trials printed, and the drivers, can be read from anywhere.
    from automata_svc.jobs import logs

    served.until(lambda: served.drivers() == [], "the drivers have ended")
    with served.service() as service:
        printed = logs.read(service, first, trial=0)
        driver = logs.read(service, first)
    assert printed.lines and {line.text for line in printed.lines} == {"a pass"}
    assert "attempt 1" in driver.lines[0].text and driver.lines[-1].text.endswith("code 0")


def test_nothing_secret_reaches_a_worker_or_stands_in_the_dashboard(served):
    job = served.submit(slow_job(budget={"trials": 3}, scheduler={"shares": [0.1], "keep": [1]}))
    served.until(lambda: bool(served.workers()), "a worker runs")
    worker = Path(f"/proc/{served.workers()[0]}/environ").read_bytes().decode()
    names = {entry.partition("=")[0] for entry in worker.split("\0")}
    assert not {name for name in names if "DATABASE" in name or name.startswith("AWS_")}
    folder = served.home / "service"
    for name in ("token", "ray-token", "database-url"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
        assert (folder / name).read_text().strip() not in worker
    place = remembered(served.home)
    assert place is not None
    assert Path(place.folder).stat().st_mode & 0o077 == 0  # Ray's sockets lie in it
    ray = LocalRay(served.home, "", {}).find()
    assert ray is not None
    answer = ray._read(ray._ask("GET", f"/api/jobs/{job}-a1"))
    shown = json.dumps(answer)
    assert answer["metadata"]["name"] == "slow" and answer["metadata"]["job"] == job
    for name in ("token", "ray-token", "database-url"):
        assert (folder / name).read_text().strip() not in shown
    ray.close()
    stranger = RayJobs(ray.address, "anybody")
    with pytest.raises(Unavailable, match="401"):
        stranger.drivers()
    stranger.close()
    served.until_over(job)


def test_a_user_pauses_resumes_and_stops_a_job_of_the_service(served, whole):
    served.slow_down(0.3)
    job = served.submit(slow_job())
    served.until(lambda: served.seq(job) > 14, "it is at work")
    assert served.ask("POST", f"/v1/jobs/{job}:pause").status_code in (200, 202)
    served.until(lambda: served.state(job) == "PAUSED", "it is paused")
    served.until(lambda: served.drivers() == [], "its driver has gone")
    assert served.ask("POST", f"/v1/jobs/{job}:resume").status_code in (200, 202)
    other = served.submit(slow_job("other"))
    served.until(lambda: served.state(other) == "RUNNING", "another one runs")
    assert served.ask("POST", f"/v1/jobs/{other}:stop").status_code in (200, 202)
    served.until(lambda: served.state(other) == "CANCELLED", "it is stopped")
    served.until_over(job)
    assert ended_as(served, job) == at_any_parallelism(whole)


def test_a_running_job_is_given_more_slots(served):
    served.slow_down(0.3)
    job = served.submit(slow_job("widened", parallelism=1))
    served.until(lambda: served.seq(job) > 14, "it is at work")
    with served.service() as service:
        before = service.state(job)
        assert before.slots == 1 and len(before.open) <= 1
    changed = served.ask("PATCH", f"/v1/jobs/{job}", '{"parallelism": null}')
    assert changed.status_code == 200, changed.text
    with served.service() as service:
        served.until(lambda: len(service.state(job).open) == 2, "two trials run at a time")
        service.stop(job)
        served.until(lambda: served.state(job) == "CANCELLED", "it is stopped")
        assert service.replay(job) == []


def test_a_job_that_no_machine_can_take_is_refused(served):
    first = served.submit(slow_job(budget={"trials": 3}, scheduler={"shares": [0.1], "keep": [1]}))
    served.until(lambda: served.state(first) != "QUEUED", "the machines are known")
    too_large = job_text(trial=trial(resources={"cpu": 64}))
    answer = served.ask("POST", "/v1/jobs", too_large)
    assert answer.status_code == 422
    (mistake,) = answer.json()["errors"]
    assert "resources" in mistake["pointer"] and "64 CPUs" in mistake["detail"]
    served.until_over(first)


def test_kill_anything_and_every_job_ends_as_if_nobody_had(victim, whole):
    """kill -9 of a worker, a driver, the server and Ray, each once and the server again with Ray
    away, while two jobs run; the rest of them finish, and decide the same."""
    rng = random.Random(7)
    victim.slow_down(0.5)
    victim.start()
    jobs = [victim.submit(slow_job("one")), victim.submit(slow_job("two"))]
    seen = 0
    for kind in ("worker", "driver", "all", "ray", "all"):
        victim.until(
            lambda: all(victim.state(job) == "RUNNING" for job in jobs) and bool(victim.workers()),
            f"both are at work, to kill the {kind}",
        )
        victim.until(
            lambda seen=seen: sum(victim.seq(job) for job in jobs) > seen, "something has happened"
        )
        assert victim.kill(kind, rng)
        seen = sum(victim.seq(job) for job in jobs) + 3
        if kind == "all":
            time.sleep(1.0)  # drivers go on meanwhile
            victim.start()
    victim.until_over(*jobs, patience_s=200)
    for job in jobs:
        assert ended_as(victim, job) == at_any_parallelism(whole)
    ray = remembered(victim.home)
    assert ray is not None
    assert victim.stop() == 0  # and a service that is asked to end leaves nothing running
    assert list(processes_of(ray)) == []
    assert not (victim.home / "service" / "url").exists()
