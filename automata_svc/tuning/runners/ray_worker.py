"""What runs in a worker of Ray's: one segment after the other, each in a thread of its own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from automata_svc.trials.types import SegmentOrder
from automata_svc.tuning.runners.ray_kit import Unpacked
from automata_svc.tuning.runners.ray_segment import Prints, SegmentThread

SAID = "said"  # the one key of what Tune is told


@dataclass(frozen=True)
class Refs:
    """Where a segment's arrays lie."""

    kit: Any
    artefact: Any
    test: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> Refs:
        return self  # Tune copies a trial's configuration; references are not to be copied


class SegmentTrainable(tune.Trainable):
    """A worker: one segment after the other in one process, each in a thread of its own."""

    def setup(self, config: dict[str, Any]) -> None:
        self._unpacked: tuple[Any, Unpacked] | None = None
        self._segment: SegmentThread | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._leave()
        return True

    def step(self) -> dict[str, Any]:
        # Only begun here: a worker that dies before has not touched the segment.
        if self._segment is None:
            self._segment = self._begin(self.config)
        return {SAID: self._segment.next()}

    def cleanup(self) -> None:
        self._leave()

    def _setup_logdir(self) -> None:
        """None is needed, and the working directory stays what it is."""

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}  # Tune would send the whole configuration back with each report

    def _begin(self, config: dict[str, Any]) -> SegmentThread:
        order: SegmentOrder = config["order"]
        refs: Refs = config["refs"]
        prints = Prints()

        def program(send: Any) -> None:  # in the thread, so that its errors are the segment's
            artefact = None if refs.artefact is None else ray.get(refs.artefact)
            test = None if refs.test is None else ray.get(refs.test)
            with contextlib.ExitStack() as stack:
                if config["ships_prints"]:
                    stack.enter_context(contextlib.redirect_stdout(prints))
                    stack.enter_context(contextlib.redirect_stderr(prints))
                self._kit(refs.kit).run(order, artefact, test, send)

        return SegmentThread(order, program, config["silent_s"], prints)

    def _kit(self, ref: Any) -> Unpacked:
        if self._unpacked is None or self._unpacked[0] != ref:
            self._unpacked = (ref, Unpacked(ray.get(ref)))
        return self._unpacked[1]

    def _leave(self) -> None:
        """The thread before ends, or the process does: two segments never share one."""
        if self._segment is not None and not self._segment.stop():
            os._exit(1)
        self._segment = None
