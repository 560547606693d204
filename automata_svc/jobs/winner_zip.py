"""The winner's files in one zip, made by a process of its own.

Reading weights takes torch: 200 MB that a server should not keep, and bytes that a template wrote.
Whoever asks for several at a time sees to it that no more than AT_ONCE are made.

    python -m automata_svc.jobs.winner_zip JOB FILE
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from automata_svc.errors import AutomataError, Conflict, Unavailable

if TYPE_CHECKING:
    from automata_svc.jobs.local import LocalService

AT_ONCE = 2  # guess: each takes 300 MB
WAIT_S = 30.0  # guess: how long somebody is kept for their turn
TIMEOUT_S = 300.0
_STAMP = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip


def zip_winner(service: LocalService, job: str) -> Path:
    """Makes the zip and returns its path; whoever asked removes it.

    Args:
        job: its id.

    Raises:
        Conflict: the job has no confirmed winner (yet), or its weights are gone.
        Unavailable: it took too long.
    """
    handle, name = tempfile.mkstemp(prefix="automata-best-", suffix=".zip")
    os.close(handle)
    path = Path(name)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "automata_svc.jobs.winner_zip", job, name],
            env=_environment(service),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        path.unlink(missing_ok=True)
        raise Unavailable(f"packing the winner of {job} took more than {TIMEOUT_S:g} s") from None
    if run.returncode:
        path.unlink(missing_ok=True)
        said = (run.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise (Conflict if run.returncode == Conflict.exit_code else AutomataError)(said)
    return path


def _environment(service: LocalService) -> dict[str, str]:
    settings = service.settings
    return {
        **os.environ,
        "AUTOMATA_HOME": str(settings.home),
        "AUTOMATA_DATABASE_URL": settings.database_url,
        "AUTOMATA_STORE_URL": settings.store_url,
        "AUTOMATA_DATA_DIRS": os.pathsep.join(map(str, settings.data_dirs)),
        "AUTOMATA_TEMPLATE_DIRS": os.pathsep.join(map(str, settings.template_dirs)),
        "OMP_NUM_THREADS": "1",
    }


def main(job: str, file: str) -> int:
    """Writes the zip; says on stderr, in one line, why it cannot."""
    from automata_svc.jobs.local import LocalService

    try:
        with tempfile.TemporaryDirectory(prefix="automata-best-") as scratch:
            folder = Path(scratch) / "best"
            LocalService().save_best(job, folder)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for one in sorted(path for path in folder.rglob("*") if path.is_file()):
                    info = zipfile.ZipInfo(one.relative_to(folder).as_posix(), _STAMP)
                    info.external_attr = 0o644 << 16
                    archive.writestr(info, one.read_bytes())
    except AutomataError as error:
        sys.stderr.write(str(error).splitlines()[0] + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
