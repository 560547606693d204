"""One slot, in this process and thread: for tests, tiny jobs, and a debugger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from automata_svc.trials.types import Reply, Report, SegmentOrder
from automata_svc.tuning.engine import Engine
from automata_svc.tuning.inputs import Reported, SegmentFailed, template_failed


class Program(Protocol):
    """What a worker does with an order: train, and send reports until told to stop."""

    def __call__(self, order: SegmentOrder, send: Callable[[Report], Reply]) -> None: ...


class DriverError(BaseException):
    """The driver's own error inside a worker's call; it must not look like the template's."""


class InProcess:
    """Runs each order to its end before the next."""

    name = "inprocess"

    def __init__(self, program: Program, poll: Callable[[], None] = lambda: None) -> None:
        self._program = program
        self._poll = poll  # user commands and leases; called at every report

    def run(self, engine: Engine) -> None:
        while not engine.finished:
            self._poll()
            orders = engine.take_orders(1)
            if not orders:
                return
            self._carry_out(engine, orders[0])

    def _carry_out(self, engine: Engine, order: SegmentOrder) -> None:
        def send(report: Report) -> Reply:
            try:
                self._poll()
                return "stop" if engine.finished else engine.report(Reported(report))
            except Exception as error:
                raise DriverError from error

        try:
            self._program(order, send)
        except DriverError as broken:
            raise broken.__cause__ or broken from None
        except (Exception, SystemExit) as error:  # sys.exit() in a template is its error too
            engine.handle(template_failed(order, error))
            return
        if engine.wants(order.trial, order.segment):
            detail = "train() returned before its segment was over"
            engine.handle(SegmentFailed(order.trial, order.segment, "error", detail, retry=False))
