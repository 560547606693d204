"""What goes wrong when rows are chosen."""

from __future__ import annotations

from automata_svc.errors import AutomataError


class SelectionError(AutomataError):
    """A signal is not finite, a size is out of range, or a strategy lacks what it needs."""
