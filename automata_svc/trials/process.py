"""Process-wide state that one trial could leave behind for the next, and the keyed seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from automata_svc.selection.types import keyed_rng


def reseed(*key: int | str) -> None:
    """Seed python, numpy and torch (the CPU, and GPUs in use) by a key alone."""
    seeds = keyed_rng(*key).integers(0, 2**32, size=3, dtype=np.uint64)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    # Not torch.manual_seed: without a GPU in use it queues a call with a stack trace for the day
    # there is one, each time (measured: .3 ms and some kB a call, which nothing ever frees).
    torch.default_generator.manual_seed(int(seeds[2]))
    if gpu_in_use():
        torch.cuda.manual_seed_all(int(seeds[2]))


def gpu_in_use() -> bool:
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def clean_process(threads: int) -> Iterator[None]:
    """Run a segment in the state a fresh process has, and give the caller's random state back."""
    states = random_states()
    before_threads = torch.get_num_threads()
    reset_process(threads)
    try:
        yield
    finally:
        reset_process(before_threads)
        restore_random_states(states)


def reset_process(threads: int) -> None:
    """Put back every switch a template can throw that outlives it."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_float32_matmul_precision("highest")
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    for device in ("cpu", "cuda"):
        torch.set_autocast_enabled(device, False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
    np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")


def random_states() -> tuple[Any, ...]:
    """Python's, numpy's and torch's random states (and the GPUs', where one is in use)."""
    gpus = torch.cuda.get_rng_state_all() if gpu_in_use() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), gpus


def restore_random_states(states: tuple[Any, ...]) -> None:
    python, numpy, cpu, gpus = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if gpus is not None:
        torch.cuda.set_rng_state_all(gpus)


@contextmanager
def undisturbed(*modules: Any) -> Iterator[None]:
    """Whatever happens inside leaves no trace: train flags, buffers, random state, gradients.

    For evaluation and selection, which must not change the training they look at: a trial that is
    looked at twice as often must end with the same weights.

    Args:
        modules: whatever a template hands to `trial.passes`; those that are nn.Modules are guarded.
    """
    parts = [part for m in modules if isinstance(m, torch.nn.Module) for part in m.modules()]
    flags = [(part, part.training) for part in parts]
    buffers = [(buffer, buffer.clone()) for part in parts for buffer in part.buffers(recurse=False)]
    gradients = [
        (p, p.grad, p.requires_grad) for part in parts for p in part.parameters(recurse=False)
    ]
    states = random_states()
    was_enabled = torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_grad_enabled(was_enabled)
        for part, flag in flags:
            part.training = flag
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for p, gradient, requires in gradients:
            p.requires_grad_(requires)
            p.grad = gradient
        restore_random_states(states)
