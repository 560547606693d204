"""A killed process's folder is deleted by the next, a living one's is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from automata_svc.tuning.runners.scratch import Scratch

HOLDS = """
import sys
from pathlib import Path
from automata_svc.tuning.runners.scratch import Scratch
kept = Scratch("job-", Path(sys.argv[1]))
(kept.path / "session").mkdir()
print(kept.path, flush=True)
sys.stdin.read()
"""


def held(base: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that has a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(base)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_lives_stays(tmp_path: Path) -> None:
    (killed, dead), (living, alive) = held(tmp_path), held(tmp_path)
    killed.kill()
    killed.communicate()
    with Scratch("job-", tmp_path) as mine:
        assert sorted(tmp_path.iterdir()) == sorted([mine, alive])
        assert not dead.exists()
    assert list(tmp_path.iterdir()) == [alive]
    living.communicate()


def test_folders_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    theirs, elsewhere = tmp_path / "job-theirs", tmp_path / "elsewhere"
    theirs.mkdir()
    elsewhere.mkdir()
    with Scratch("job-", elsewhere) as other:
        (tmp_path / "job-link").symlink_to(other)
        Scratch("job-", tmp_path).close()
        assert theirs.is_dir() and other.is_dir()
