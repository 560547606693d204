"""Running one segment: the one way in for every runner."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import torch

from automata_svc.errors import AutomataError, UnknownName
from automata_svc.selection.types import Rows, Strategy
from automata_svc.trials.data import TrialData
from automata_svc.trials.errors import TemplateError, TrialStopped
from automata_svc.trials.module import fresh
from automata_svc.trials.params import fill
from automata_svc.trials.process import clean_process, reseed
from automata_svc.trials.trial import Blobs, Send, Trial
from automata_svc.trials.types import SegmentOrder
from automata_svc.trials.walk import Walk

DEFAULT_BATCH_SIZE = 32  # for a template that declares none


def run_segment(
    order: SegmentOrder, template_module: ModuleType, data: TrialData, blobs: Blobs, send: Send
) -> None:
    """Train (or, in phase "test", evaluate) one trial as ordered, in this thread.

    Returns when the segment is over: finished, stopped by a reply, or tripped. Random state, thread
    count and torch's switches are set at the start whatever ran before, and the caller's are put
    back; the template's module globals are new. One segment at a time in a process: random state is
    the process's.

    Args:
        order: what to do.
        template_module: from `load_module`; run again for this segment.
        data: the worker's; test rows are out of reach but in phase "test".
        blobs: where checkpoints go; `put` returns when they are durable.
        send: hands a report over and waits for the reply.

    Raises:
        TemplateError: the template breaks its contract.
        CheckpointMismatch: the checkpoint does not fit.
        Exception: whatever the template raises, with its own traceback.
    """
    if order.to_boundary > order.table.last:
        raise AutomataError(
            f"trial {order.trial} is to run to pass {order.to_boundary}, and a full training ends"
            f" at {order.table.last}"
        )
    if order.phase != "test":
        data = replace(data, open_test=None)
    if data.device.startswith("cuda"):
        torch.cuda.init()  # type: ignore[no-untyped-call]  # else the first draws on it have no seed
    with clean_process(order.threads):
        reseed(order.seed, order.trial, "build")  # the module's and the model's first draws
        module = fresh(template_module)
        trial = _trial(order, module, data, blobs, send)
        try:
            module.train(trial)
        except TrialStopped:
            return
        if not trial.finished:
            raise TemplateError(
                "train returned before the last pass was reported: go through all of"
                " `for _ in trial.passes(…)`, with trial.report at the end of each"
            )


def _trial(
    order: SegmentOrder, module: ModuleType, data: TrialData, blobs: Blobs, send: Send
) -> Trial[Any]:
    params = fill(module.Params, order.params)
    batch_size = int(getattr(params, "batch_size", DEFAULT_BATCH_SIZE))
    rows = Rows(labels=data.train.y, n_classes=data.shape.n_classes)
    walk = Walk(order, strategy_named(order.strategy.name), rows, data.artefact, batch_size)
    finish = 0.0 if getattr(module, "OWN_SCHEDULE", False) else order.finish
    return Trial(order, params, data, walk, blobs, send, batch_size, finish)


def strategy_named(name: str) -> Strategy:
    from automata_svc.selection import STRATEGIES

    if name not in STRATEGIES:
        raise UnknownName("strategy", name, STRATEGIES)
    return STRATEGIES[name]
