"""What a process counts while it happens; what is counted of jobs stands in the database."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Histogram

# Seconds; the promise is a submission in 0.1 and a page in 0.05.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)
APPENDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Meters:
    """Counters of one app, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "automata_http_request_duration_seconds",
            "From the request's first byte to the answer's last; streams are not in it.",
            ("route", "method", "code"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.streams = Gauge("automata_sse_clients", "Open event streams.", registry=self.registry)
        self.appends = Histogram(
            "automata_event_log_append_seconds",
            "Until the database has stored what this process appended to a log; drivers' own are "
            "not in it.",
            buckets=APPENDS,
            registry=self.registry,
        )
