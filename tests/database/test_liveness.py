from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from automata_svc.database import is_gone, this_process

ASK = "from automata_svc.database import this_process; print(this_process(), flush=True); input()"


def child() -> tuple[subprocess.Popen[str], str]:
    """A process that waits, and its owner string."""
    process = subprocess.Popen(
        [sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_an_owner_names_host_process_and_start() -> None:
    host, pid, start = this_process().split(":")
    assert (host, int(pid)) == (socket.gethostname(), os.getpid())
    assert start
    assert this_process() == this_process()


def test_a_process_is_alive_until_it_is_killed() -> None:
    process, owner = child()
    with process:
        assert not is_gone(owner)
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(owner)  # a zombie: dead, and nobody has asked for its exit status yet
    assert is_gone(owner)


def test_a_process_that_got_the_number_later_is_another() -> None:
    host, pid, start = this_process().split(":")
    ticks, _, world = start.partition("@")
    assert is_gone(f"{host}:{pid}:{int(ticks) - 1}@{world}")


def test_what_cannot_be_seen_from_here_is_not_called_gone() -> None:
    host, _, start = this_process().split(":")
    other_world = start.partition("@")[0] + "@00000000.1"
    for owner in (
        f"elsewhere.{host}:1:{start}",
        f"{host}:999999999:{other_world}",
        f"{host}:999999999:",
        f"{host}:x:{start}",
        "somebody",
        "",
    ):
        assert not is_gone(owner), owner
