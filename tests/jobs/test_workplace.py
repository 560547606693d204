"""Where trials run: an interrupt waits for what must not be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from automata_svc.jobs.workplace import interrupts_held


def test_an_interrupt_is_put_off_to_the_end_of_the_block():
    reached = False
    with pytest.raises(KeyboardInterrupt):
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_the_block_raises_is_raised():
    with pytest.raises(ImportError), interrupts_held():
        raise ImportError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_there_is_nothing_to_put_off():
    handlers: list[object] = []

    def block() -> None:
        with interrupts_held():  # only the main thread may set a handler: Python raises elsewhere
            handlers.append(signal.getsignal(signal.SIGINT))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(block).result()  # raises what the block raised
    assert handlers == [signal.default_int_handler]


LOADS_RAY = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
            raise SystemExit

sys.meta_path.insert(0, Finder())
from automata_svc.jobs.workplace import RayWorkplace
RayWorkplace(None, None, None)
"""


def test_an_interrupt_waits_until_ray_is_loaded():
    """Met in its Cython modules, Python prints it and goes on."""
    done = subprocess.run([sys.executable, "-c", LOADS_RAY], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
