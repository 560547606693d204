"""What machines look at: alive, ready, and counters whose labels name nobody."""

from __future__ import annotations

import httpx

from automata_svc.errors import Unavailable
from tests.api.served import Served


def test_requests_are_timed_by_route_and_not_by_what_they_name(served: Served) -> None:
    served.client.get("/v1/jobs/some-name-nobody-has")
    served.client.get("/some/path/nobody/has")
    text = httpx.get(f"{served.url}/metrics").text
    assert 'route="/v1/jobs/{job}"' in text
    assert "nobody" not in text
    assert "automata_build_info{" in text


def test_a_database_that_is_away_makes_it_unready_but_not_dead(served, monkeypatch):
    def away(**_: object) -> None:
        raise Unavailable("the database is away")

    monkeypatch.setattr(served.world.service.database, "list_jobs", away)
    answer = httpx.get(f"{served.url}/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert httpx.get(f"{served.url}/healthz").status_code == 200
    assert served.client.get("/v1/jobs").status_code == 503
