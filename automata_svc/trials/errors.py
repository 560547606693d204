"""What can go wrong inside a trial, and how a trial is told to stop."""

from __future__ import annotations

from automata_svc.errors import AutomataError


class TemplateError(AutomataError):
    """The template does not keep its side of the contract; the message says which part."""


class HeadNotFound(TemplateError):
    """The layer that makes the logits was not found; the message names the candidates."""


class CheckpointMismatch(AutomataError):
    """A checkpoint does not fit the trial that wants to go on from it; the message says where."""


class TrialStopped(BaseException):
    """Unwinds a template when its segment ends early.

    Not an `Exception`, so that a template's own `except Exception` does not swallow it.
    """
