"""A template's text becomes a module of its own."""

from __future__ import annotations

import hashlib
import sys
import traceback

import pytest

from automata_svc.errors import Damaged
from automata_svc.trials.module import fresh, load_module

TEXT = '''"""A module."""
COUNT = []

def fail():
    raise ValueError("from the text")  # not from any file
'''


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_module_is_registered_under_its_digest():
    module = load_module(TEXT, digest(TEXT), "/somewhere/mine.py")
    assert digest(TEXT)[:16] in module.__name__
    assert sys.modules[module.__name__] is module
    assert module.__file__ == "/somewhere/mine.py"


def test_tracebacks_show_the_text_that_ran():
    module = load_module(TEXT, digest(TEXT), "/somewhere/mine.py")
    with pytest.raises(ValueError) as caught:
        module.fail()
    shown = "".join(traceback.format_exception(caught.value))
    assert 'File "/somewhere/mine.py", line 5, in fail' in shown
    assert "# not from any file" in shown


def test_text_with_another_digest_is_refused():
    with pytest.raises(Damaged, match="mine.py"):
        load_module(TEXT + "\n", digest(TEXT), "mine.py")


def test_fresh_runs_the_same_text_again():
    module = load_module(TEXT, digest(TEXT), "mine.py")
    module.COUNT.append(1)
    again = fresh(module)
    assert again is not module
    assert (again.COUNT, again.__name__) == ([], module.__name__)


def test_a_text_that_fails_leaves_no_half_module():
    text = "1 / 0"
    with pytest.raises(ZeroDivisionError):
        load_module(text, digest(text), "mine.py")
    assert not any(digest(text)[:16] in name for name in sys.modules)


def test_a_dataclass_with_postponed_annotations_works():
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: int = 1\nP = Point(3)\n"
    )
    assert load_module(text, digest(text), "mine.py").P.x == 3
