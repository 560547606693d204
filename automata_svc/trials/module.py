"""A template's text as a module: the code that was submitted, whatever its file says now."""

from __future__ import annotations

import hashlib
import linecache
import sys
from types import CodeType, ModuleType

from automata_svc.errors import Damaged
from automata_svc.trials.templates import without_mark

PREFIX = "automata_template_"
_CODE = "__automata_code__"  # the compiled text, kept on the module so that it can be run again


def load_module(text: str, sha256: str, origin: str) -> ModuleType:
    """Run a template's text as a new module.

    It is registered in `sys.modules` under a name with the digest, and tracebacks show its own
    lines even where the file is elsewhere or has changed since.

    Args:
        text: the whole file.
        sha256: hex digest of its UTF-8 bytes.
        origin: the path that tracebacks name.

    Raises:
        Damaged: the text has another digest.
        Exception: whatever running the module raises.
    """
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise Damaged(f"template {origin}: its text is not the one with sha256 {sha256}")
    code = compile(without_mark(text), origin, "exec", dont_inherit=True)
    return _run(f"{PREFIX}{sha256[:16]}", code, text, origin)


def fresh(module: ModuleType) -> ModuleType:
    """The same module run anew, with globals nobody has touched.

    A module that did not come from `load_module` is returned as it is.
    """
    code = getattr(module, _CODE, None)
    if code is None:
        return module
    return _run(module.__name__, code, module.__automata_text__, module.__file__ or "")


def _run(name: str, code: CodeType, text: str, origin: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = origin
    module.__dict__[_CODE] = code
    module.__dict__["__automata_text__"] = text
    # No modification time: linecache then keeps these lines and does not look at the file.
    linecache.cache[origin] = (len(text), None, text.splitlines(keepends=True), origin)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
