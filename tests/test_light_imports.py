"""The commands somebody types to look around load no library that takes seconds to start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

HEAVY = ("ray", "torch", "sqlalchemy", "pandas", "optuna")

# Runs the console script's own entry point, then says what that has loaded.
PROGRAM = f"""
import json, sys
from automata_svc.cli.main import main
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], "tune"),
        (["templates", "ls"], "tabular_mlp"),
    ],
    ids=["--help", "templates ls"],
)
def test_looking_around_loads_nothing_heavy(arguments: list[str], shown: str, home: object) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    code, loaded = json.loads(run.stderr.splitlines()[-1])
    assert code == 0, run.stderr
    assert shown in run.stdout
    assert loaded == []
