"""What every worker of a job needs and gets once: the program and the rows, in shared memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from automata_svc.blobs import SignedBlobs
from automata_svc.datasets.types import Shape, Split
from automata_svc.spec.bundle import bundle_key
from automata_svc.trials.surroundings import NOTHING, Surroundings
from automata_svc.trials.types import Reply, Report, SegmentOrder

if TYPE_CHECKING:
    from automata_svc.blobs import BlobStore
    from automata_svc.selection.types import Arrays
    from automata_svc.trials.data import TrialData


class WorkerProgram(Protocol):
    """What a worker does with an order; pickled once, called in a fresh thread for each segment."""

    def __call__(
        self, order: SegmentOrder, data: TrialData, send: Callable[[Report], Reply]
    ) -> None: ...


@dataclass(frozen=True)
class TemplateProgram:
    """Runs a template, from the text that was submitted."""

    text: str
    sha256: str  # of the text; checked in the worker
    origin: str  # the path that tracebacks name
    store_url: str  # where checkpoints go
    prints: str | None  # folder for what it prints, one file a trial; None: where it goes anyway
    around: Surroundings = NOTHING  # its own modules, variables and secrets

    def __call__(
        self, order: SegmentOrder, data: TrialData, send: Callable[[Report], Reply]
    ) -> None:
        from automata_svc.trials.output import printed_to

        if self.prints is None:
            self._run(order, data, send)
            return
        with printed_to(Path(self.prints) / f"trial-{order.trial}.txt", send) as outside:
            self._run(order, data, outside)

    def _run(self, order: SegmentOrder, data: TrialData, send: Callable[[Report], Reply]) -> None:
        from automata_svc.trials.segment import run_segment

        # Opened before the job's own variables are there: AWS_* may be for a bucket of its own.
        blobs = _store(self.store_url) if order.access is None else SignedBlobs(order.access)
        with self.around.in_place(lambda sha256: blobs.get(bundle_key(sha256))):
            run_segment(order, _module(self), data, blobs, send)


@lru_cache(maxsize=1)
def _module(program: TemplateProgram) -> ModuleType:
    from automata_svc.trials.module import load_module

    return load_module(program.text, program.sha256, program.origin)


@lru_cache(maxsize=1)
def _store(url: str) -> BlobStore:
    from automata_svc.blobs import open_store

    return open_store(url)


@dataclass(frozen=True)
class Kit:
    """A job's program and rows. In a worker the arrays are read-only, in memory of the node."""

    program: WorkerProgram
    shape: Shape
    train: Split
    val: Split
    on_gpu: bool  # the trials' resources ask for one


@dataclass
class Unpacked:
    """A kit in a worker: tensors made from its rows are kept from segment to segment."""

    kit: Kit
    _data: TrialData | None = field(default=None, repr=False)

    def run(
        self,
        order: SegmentOrder,
        artefact: Arrays | None,
        test: Split | None,
        send: Callable[[Report], Reply],
    ) -> None:
        data = replace(self.data(), artefact=artefact or {})
        if test is not None:
            data = replace(data, open_test=lambda: test)
        self.kit.program(order, data, send)

    def data(self) -> TrialData:
        if self._data is None:
            from automata_svc.trials.data import TrialData, device_for

            kit = self.kit
            self._data = TrialData(kit.shape, kit.train, kit.val, device=device_for(kit.on_gpu))
        return self._data
