"""Packages that a job asks for, installed by a real Ray for that job's workers alone."""

from __future__ import annotations

import hashlib
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.serving import TEMPLATE, Served
from tests.jobs.build import job_text, trial

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 400.0  # an environment of its own is a copy of this one, with torch and all
SMALL = {"scheduler": {"shares": [0.1], "keep": [1]}, "budget": {"trials": 2}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, ray_temp_dir: Path) -> Iterator[Served]:
    one = Served(tmp_path_factory.mktemp("served") / "home", ray_temp_dir)
    text = TEMPLATE.read_text().replace(
        "import torch\n", "import gift_of_a_wheel\nimport torch\n", 1
    )
    (one.home / "templates" / "gifted.py").write_text(
        text.replace("def build(", "print(gift_of_a_wheel.WORDS)\n\n\ndef build(", 1)
    )
    one.start()
    yield one
    one.close()


def wheel(folder: Path, name: str, text: str) -> Path:
    """A wheel with one module, made by hand: a zip with a list of what is in it."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    lines = []
    for path, content in files.items():
        digest = urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""])
    made = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as packed:
        for path, content in files.items():
            packed.writestr(path, content)
    return made


def asking(served: Served, name: str, *packages: str) -> str:
    """A job on the template that imports the gift, submitted."""
    wanted = trial(template="gifted", runtime_env={"pip": list(packages)})
    return served.submit(job_text(name, trial=wanted, **SMALL))


def test_a_template_imports_what_only_its_jobs_packages_give(
    served: Served, tmp_path: Path
) -> None:
    made = wheel(tmp_path, "gift_of_a_wheel", "WORDS = 'from a wheel'\n")
    job = asking(served, "gifted", f"gift_of_a_wheel @ {made.as_uri()}")
    served.until_over(job, patience_s=PATIENCE_S)
    assert served.state(job) == "SUCCEEDED", served.words()
    other = asking(served, "without")  # only the job that asked for it has it
    served.until_over(other)
    assert served.state(other) == "FAILED"
    with served.service() as service:
        printed = {text for _, text in service.logs(job, trial=0)}
        assert "from a wheel" in printed, printed
        reasons = [trial["reason"] for trial in service.trials(other)]
        assert all("No module named 'gift_of_a_wheel'" in one for one in reasons), reasons


def test_a_package_that_cannot_be_installed_fails_the_job_and_is_named(
    served: Served, tmp_path: Path
) -> None:
    missing = tmp_path / "no_such_gift-1.0-py3-none-any.whl"
    job = asking(served, "refused", f"no_such_gift @ {missing.as_uri()}")
    served.until_over(job, patience_s=PATIENCE_S)
    found = served.job(job)
    assert (found["state"], found["attempt"]) == ("FAILED", 1), served.words()
    assert "packages cannot be installed: Could not install" in found["reason"], found["reason"]
    assert missing.name in found["reason"], found["reason"]
