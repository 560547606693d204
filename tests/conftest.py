"""What every test stands on: one thread, no token, and nothing of the machine's own state.

The environment is set while this file is imported, before any test module can load torch or Ray.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from automata_svc.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# Short on purpose: Ray puts sockets about 70 characters below it, and AF_UNIX paths end at 107.
SCRATCH = Path(tempfile.mkdtemp(prefix=f"ar-{os.getpid()}-", dir="/tmp"))

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"  # else a new local Ray writes a token into the user's home
os.environ["RAY_TMPDIR"] = str(SCRATCH)
os.environ["AUTOMATA_HOME"] = str(SCRATCH / "home")  # no test meets the developer's own jobs
for name in ("AUTOMATA_DATABASE_URL", "AUTOMATA_STORE_URL", "AUTOMATA_TEMPLATE_DIRS"):
    os.environ.pop(name, None)
if not os.environ.get("AUTOMATA_DATA_DIRS") and SHARED_DATA.is_dir():
    os.environ["AUTOMATA_DATA_DIRS"] = str(SHARED_DATA)

# Speed is never asserted, and a continuous integration run draws the same examples each time.
hypothesis_settings.register_profile(
    "automata",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("automata")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With AUTOMATA_NO_SKIPS set, a run that left something out has failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    if os.environ.get("AUTOMATA_NO_SKIPS") and skipped and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure() -> None:
    # Ray's last workers may still be writing here for some seconds; what they leave is theirs.
    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Sums must not depend on the machine's cores; torch is not imported for a test without it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A fresh AUTOMATA_HOME, in the environment too, so that child processes share it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("AUTOMATA_HOME", str(folder))
    return Settings.from_env()


@pytest.fixture(scope="session")
def data_dirs() -> tuple[Path, ...]:
    """The folders with shared data sets; a test that asks for them skips where there are none."""
    folders = Settings.from_env().data_dirs
    present = tuple(folder for folder in folders if folder.is_dir())
    if not present:
        asked = ", ".join(map(str, folders)) or str(SHARED_DATA)
        pytest.skip(f"no data sets: the folder {asked} is absent (AUTOMATA_DATA_DIRS names others)")
    return present


@pytest.fixture(scope="session")
def ray_temp_dir() -> Path:
    """A short folder for a Ray of the test's own, for code that takes one as an argument."""
    folder = SCRATCH / "r"
    folder.mkdir(exist_ok=True)
    return folder
