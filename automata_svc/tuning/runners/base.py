"""The contract of a runner."""

from __future__ import annotations

from typing import Protocol

from automata_svc.tuning.engine import Engine


class Runner(Protocol):
    """Carries an engine's orders out until the engine is finished.

    Duties, which tests/contracts/test_runner.py holds each of them to: it starts what `take_orders`
    hands out and nothing else; every report of a worker goes through `engine.report` and its worker
    gets the answer; a segment that dies reaches the engine as SegmentFailed; after `finished`,
    nothing of it runs on.
    """

    name: str

    def run(self, engine: Engine) -> None:
        """Blocks until `engine.finished`. KeyboardInterrupt ends what runs and is raised again."""
        ...
